"""Loading the application that a command line names."""

from collections.abc import Iterator
from contextlib import contextmanager

from halfsync.errors import UsageError
from halfsync.loading.application import Application, load_application
from halfsync.runtime.output import flush_output
from halfsync.settings import Settings


def load(target: str, settings: Settings, chdir: str | None) -> Application:
    """Return the application, loaded in the directory `chdir`; None: in the working directory. Raises StartError."""
    try:
        with origins(settings):
            return load_application(target, factory=settings.factory, chdir=chdir, stream=settings.stream)
    finally:
        # What the application has printed while it was loaded must come before anything that the server prints.
        flush_output()


@contextmanager
def origins(settings: Settings) -> Iterator[None]:
    """Add the origin of the setting's value to an error in the block: the loader knows only the setting's name."""
    try:
        yield
    except UsageError as error:
        origin = settings.origins.get(error.origin, error.origin)
        raise UsageError(error.problem, origin=origin, remedy=error.remedy) from None
