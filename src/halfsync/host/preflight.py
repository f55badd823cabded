"""Checks before anything is opened or forked, for `halfsync check` and for each start."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from halfsync.errors import UsageError
from halfsync.host.directory import is_removed
from halfsync.host.hooks import check_hooks
from halfsync.host.identity import find_identity
from halfsync.host.pidfile import PidFile
from halfsync.log import warn
from halfsync.runtime.originals import os
from halfsync.runtime.standard import genuine
from halfsync.runtime.threads import find_green_locks
from halfsync.settings.declaration import BY_NAME
from halfsync.settings.embedded import NEED_WORKERS
from halfsync.settings.lanes import refuse_lanes
from halfsync.settings.setting import DEFAULT_ORIGIN

if TYPE_CHECKING:
    from halfsync.host.identity import Identity
    from halfsync.settings import Settings

# In an upgrade (SIGUSR2), the variable with what the old program gives to the new one. See supervisor/inheritance.py.
GIVEN = "_HALFSYNC_UPGRADE"


def check_start(settings: Settings) -> Identity:
    """Reject settings that cannot work: a user we cannot switch to, a held pidfile, missing hooks.

    Returns the user and the group that the server switches to. It changes nothing except by importing the hooks, so
    call it after the application was loaded, in whose directory they are found. Raises UsageError or LoadError.
    """
    refuse_contradictions(settings)
    fit_to_locks(settings)
    identity = find_identity(settings)
    file = PidFile.of(settings)
    if file is not None:
        file.check()
    check_hooks(settings)
    return identity


def fit_to_locks(settings: Settings) -> Settings:
    """Return settings that fit the locks of threading: if threads cannot share those, one thread runs the application.

    A lock of greenlets is woken by the event loop of one thread. That loop does not run while its thread waits for a
    request, so another thread would wait for ever. One thread is chosen only if the settings give no number of threads.
    Raises UsageError if they do, or if the model cannot work.
    """
    library = find_green_locks()
    if not library or settings.model == "process" or (settings.model != "thread" and settings.threads == 1):
        return settings
    origin = settings.origins.get("threads", DEFAULT_ORIGIN)
    if settings.model == "thread" or origin != DEFAULT_ORIGIN:
        raise UsageError(
            f"{library} has replaced the locks of threading with ones that threads cannot share",
            origin=settings.origins.get("model", "") if settings.model == "thread" else origin,
            remedy="use the model process; or proactor with threads 1, and more workers; or patch with thread=False",
        )
    warn(
        "%s has replaced the locks of threading with ones that threads cannot share: one thread runs the "
        "application; with more workers, or the model process, more requests run at once",
        library,
    )
    return replace(settings, threads=1)


def refuse_contradictions(settings: Settings) -> None:
    """Reject settings of serving processes without `workers`, and what `reload` cannot do. Raises UsageError.

    Also reject an upgrade to a program without a supervisor: it would take nothing over, and the old program would wait
    for it.
    """
    if settings.reload:
        _refuse_no_reload(settings)
    if settings.workers is not None:
        return
    if GIVEN in os.environ:
        raise UsageError(
            "workers is no longer set, and only a supervisor can replace a supervisor",
            remedy="set workers to 1 or more; or restart the server, without an upgrade",
        )
    for name in NEED_WORKERS:
        value, origin = getattr(settings, name), settings.origins.get(name, DEFAULT_ORIGIN)
        if value and (origin != DEFAULT_ORIGIN or value != BY_NAME[name].default):
            raise UsageError(
                f"{name} applies only to serving processes under a supervisor",
                origin=origin,
                remedy=f"set workers to 1 or more, or leave {name} out",
            )


def fit_server(settings: Settings) -> Settings:
    """Return settings that fit this process, and reject those with which no server can work. Raises UsageError."""
    _refuse_stream(settings)
    if settings.request_timeout > 0 and settings.model != "proactor":
        raise UsageError(
            f"request_timeout is supported only with the model proactor, and the model is {settings.model}",
            origin=settings.origins.get("request_timeout", ""),
            remedy="use the model proactor, or leave request_timeout out",
        )
    _refuse_lanes(settings)
    fitting = fit_to_locks(settings)
    refuse_lanes(fitting.lanes, fitting.threads, settings.origins.get("lanes", ""))
    check_temp_dir(fitting)
    return fitting


def _refuse_lanes(settings: Settings) -> None:
    """Reject lanes if what waits is not a request with a path. Raises UsageError."""
    if settings.model != "proactor":
        what, remedy = f"the model is {settings.model}", "use the model proactor, or leave"
    elif settings.stream:
        what, remedy = "a stream has no requests", "leave"
    else:
        return
    for name in ("lanes", "client_share"):
        if getattr(settings, name) != BY_NAME[name].default:
            raise UsageError(
                f"{name} is supported only with the model proactor and requests, and {what}",
                origin=settings.origins.get(name, ""),
                remedy=f"{remedy} {name} out",
            )


def _refuse_stream(settings: Settings) -> None:
    """Reject settings that make no sense for a stream. Raises UsageError."""
    if not settings.stream:
        return
    if settings.access_log is not None:
        raise UsageError(
            "a stream has no requests to log",
            origin=settings.origins.get("access_log", ""),
            remedy="leave access_log out; the handler can write a log of its own",
        )
    if settings.static:
        raise UsageError(
            "a stream has no requests for files",
            origin=settings.origins.get("static", ""),
            remedy="leave static out",
        )
    if settings.keep_alive == 0:
        raise UsageError(
            "a stream must be able to idle between two turns",
            origin=settings.origins.get("keep_alive", ""),
            remedy="set keep_alive above 0",
        )


def check_temp_dir(settings: Settings) -> None:
    """Reject a directory in which this process, as the user that it is now, cannot make files. Raises UsageError."""
    if not os.access(settings.temp_dir, os.W_OK | os.X_OK):
        raise UsageError(
            f"temporary files cannot be made in {settings.temp_dir!r}",
            origin=settings.origins.get("temp_dir", ""),
            remedy="name a directory that can be written to with temp_dir",
        )


def refuse_lost_file(settings: Settings, before: str | None) -> None:
    """Reject settings without the file that gave them until now: they would be defaults, which the user did not choose.

    before: that file; None: there was none. Call this in the directory in which files are found. Raises UsageError.
    """
    if (
        before is None
        or settings.config == before
        or (settings.config is not None and os.path.exists(before))
    ):
        return
    if is_removed():
        raise UsageError(
            f"the directory in which the server was started is gone, and {before} with it",
            origin="config",
            remedy="start it in a directory that stays, or name the file by its absolute path with --config",
        )
    is_there = os.path.exists(before)
    raise UsageError(
        f"{before}, which gave the settings, no longer {'has any' if is_there else 'exists'}",
        origin="config",
        remedy="put it back, or restart the server to use other settings",
    )


def _refuse_no_reload(settings: Settings) -> None:
    if settings.preload:
        raise UsageError(
            "preload keeps the code that was loaded at the start, so reload cannot load new code",
            origin=settings.origins.get("preload", ""),
            remedy="leave out preload or reload",
        )
    with genuine():
        from importlib.util import find_spec  # noqa: PLC0415 - only development needs it

        is_there = find_spec("watchfiles") is not None
    if not is_there:
        raise UsageError(
            "reload needs the package watchfiles, which is not installed",
            origin=settings.origins.get("reload", ""),
            remedy='install it: pip install "halfsync[reload]"',
        )
    for directory in settings.reload_dir:
        if not os.path.isdir(directory):
            raise UsageError(
                f"there is no directory {directory}",
                origin=settings.origins.get("reload_dir", ""),
                remedy="name directories that exist; relative ones begin in chdir",
            )
