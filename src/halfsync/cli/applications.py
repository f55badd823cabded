"""Loading the application that a command line names."""

from collections.abc import Iterator
from contextlib import contextmanager

from halfsync.errors import UsageError
from halfsync.loading.application import Application, load_application
from halfsync.loading.directory import add_paths, enter
from halfsync.loading.variables import set_variables
from halfsync.runtime.output import flush_output
from halfsync.settings import Settings


def with_target(settings: Settings) -> Settings:
    """Return the settings if they name an application. Raises UsageError."""
    if settings.wsgi_app is None:
        raise UsageError(
            "no application is named",
            remedy="name it as module:callable, or set wsgi_app in halfsync.toml; see `halfsync serve --help`",
        )
    return settings


def load(settings: Settings, chdir: str | None) -> Application:
    """Return the application of `wsgi_app`, loaded in `chdir`; None: in the working directory. Raises StartError."""
    try:
        with origins(settings):
            surround(settings, chdir)
            return load_application(settings.wsgi_app or "", factory=settings.factory, stream=settings.stream)
    finally:
        # What the application has printed while it was loaded must come before anything that the server prints.
        flush_output()


def surround(settings: Settings, chdir: str | None) -> None:
    """Enter the directory, and set paths and variables as the settings say. Raises UsageError."""
    enter(chdir)
    add_paths(settings.pythonpath)
    set_variables(settings.env, settings.env_file)


@contextmanager
def origins(settings: Settings) -> Iterator[None]:
    """Add the origin of the setting's value to an error in the block: the loader knows only the setting's name."""
    try:
        yield
    except UsageError as error:
        origin = settings.origins.get(error.origin, error.origin)  # of a line in a file: that line
        raise UsageError(error.problem, origin=origin, remedy=error.remedy) from None
