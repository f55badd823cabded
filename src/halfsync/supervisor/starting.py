"""What can be found wrong before anything is opened or forked: `halfsync check` asks for it, and so does a start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.errors import UsageError
from halfsync.supervisor.hooks import HOOKS, check_hooks
from halfsync.supervisor.identity import find_identity
from halfsync.supervisor.pidfile import PidFile

if TYPE_CHECKING:
    from halfsync.settings import Settings

# What means nothing to a process that serves by itself.
NEED_WORKERS = ("preload", "warmup", "max_requests", "max_lifetime", "max_rss", *HOOKS)


def check_start(settings: Settings) -> None:
    """Refuse what cannot be: who may not be become, a pidfile that another holds, hooks that are not there.

    Changes nothing but what importing the hooks changes; so it comes after the application was loaded, whose directory
    they are found in. Raises UsageError or LoadError.
    """
    refuse_contradictions(settings)
    find_identity(settings)
    file = PidFile.of(settings)
    if file is not None:
        file.check()
    check_hooks(settings)


def refuse_contradictions(settings: Settings) -> None:
    """Refuse what is said about processes that are not there, or what `reload` cannot do. Raises UsageError."""
    if settings.reload:
        _refuse_no_reload(settings)
    if settings.workers is not None:
        return
    for name in NEED_WORKERS:
        if getattr(settings, name):
            raise UsageError(
                f"{name} is about serving processes under a supervisor, and there are none",
                origin=settings.origins.get(name, ""),
                remedy=f"give workers too, 1 or more, or leave {name} out",
            )


def _refuse_no_reload(settings: Settings) -> None:
    if settings.preload:
        raise UsageError(
            "what is preloaded stays as it was loaded, so reload could bring no new code",
            origin=settings.origins.get("preload", ""),
            remedy="leave out preload or reload",
        )
    from importlib.util import find_spec  # noqa: PLC0415 - only development needs it

    if find_spec("watchfiles") is None:
        raise UsageError(
            "reload needs the package watchfiles, which is not installed",
            origin=settings.origins.get("reload", ""),
            remedy='install it: pip install "halfsync[reload]"',
        )
