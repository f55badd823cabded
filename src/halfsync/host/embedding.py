"""What a program that serves by itself, with `Server` or `serve`, cannot do: it is refused, as on a command line.

A setting that has no effect is a mistake of the program, or a promise that nothing keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.errors import UsageError
from halfsync.settings.declaration import BY_NAME
from halfsync.settings.embedded import OF_A_COMMAND, OF_A_PROCESS
from halfsync.settings.setting import DEFAULT_ORIGIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from halfsync.settings import Settings


def refuse_for_server(application: object, settings: Settings) -> None:
    """Reject settings that a `Server` in a program does not have, and what is no application. Raises UsageError."""
    refuse_no_application(application, settings)
    _refuse(settings, OF_A_COMMAND, "Server", "load the application in the program, or use `halfsync serve`")
    _refuse(settings, OF_A_PROCESS, "Server", "use halfsync.serve, which makes the process a server")


def refuse_for_serve(application: object, settings: Settings) -> None:
    """Reject settings that `serve` does not have, and what is no application. Raises UsageError."""
    if settings.reload:
        raise UsageError(
            "an application that is loaded already cannot be reloaded",
            origin=settings.origins.get("reload", ""),
            remedy="leave reload out here, and develop with `halfsync serve module:callable --reload`",
        )
    refuse_no_application(application, settings)
    _refuse(
        settings,
        OF_A_COMMAND,
        "halfsync.serve",
        "load the application in the program, or use `halfsync serve`",
    )


def refuse_no_application(application: object, settings: Settings) -> None:
    """Reject an application that cannot be called. Raises UsageError."""
    if callable(application):
        return
    what = "a function or a class that makes a stream's handlers" if settings.stream else "a WSGI application"
    remedy = f"import it, and give {what}" if isinstance(application, str) else f"give {what}"
    raise UsageError(
        f"the application is of type {type(application).__name__}, which cannot be called", remedy=remedy
    )


def _refuse(settings: Settings, names: Iterable[str], caller: str, remedy: str) -> None:
    for name in names:
        origin = settings.origins.get(name, DEFAULT_ORIGIN)
        if getattr(settings, name) != BY_NAME[name].default:
            raise UsageError(
                f"{name} has no effect on {caller}", origin=origin, remedy=f"{remedy}; or leave {name} out"
            )
