"""Loading the application that a command line names."""

from collections.abc import Iterator
from contextlib import contextmanager

from halfsync.errors import UsageError
from halfsync.loading import Application, load_application
from halfsync.output import flush_output
from halfsync.settings import Settings


def load(target: str, settings: Settings, chdir: str | None) -> Application:
    """Load the application, in a directory; None: in this one. Raises StartError."""
    try:
        with origins(settings):
            return load_application(target, factory=settings.factory, chdir=chdir, stream=settings.stream)
    finally:
        # What the application printed while it was loaded comes before anything that the server prints.
        flush_output()


@contextmanager
def origins(settings: Settings) -> Iterator[None]:
    """Say in an error where the value of a setting came from: the loader knows the setting by its name."""
    try:
        yield
    except UsageError as error:
        origin = settings.origins.get(error.origin, error.origin)
        raise UsageError(error.problem, origin=origin, remedy=error.remedy) from None
