"""`serve`: the entry point for programs. The settings decide whether one process serves, or several do."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from halfsync.errors import UsageError
from halfsync.host.embedding import refuse_for_serve
from halfsync.host.handlers import release_handlers
from halfsync.runtime.standard import keep_new_apart
from halfsync.settings import Settings

if TYPE_CHECKING:
    from typing import Unpack

    from halfsync.server import Application
    from halfsync.settings.options import ServeOptions
    from halfsync.stream.handler import StreamFactory


@overload
def serve(application: Application | StreamFactory, *, settings: Settings, name: str = "") -> None: ...


@overload
def serve(
    application: Application | StreamFactory, *, name: str = "", **options: Unpack[ServeOptions]
) -> None: ...


def serve(
    application: Application | StreamFactory,
    *,
    settings: Settings | None = None,
    name: str = "",
    **options: Unpack[ServeOptions],
) -> None:
    """Serve an application in the foreground until a signal ends it.

    Takes and raises what `Server` does, and takes the settings of processes too (`workers`, `user`, `admin_bind` ...).

    With the model `process`, this process forks its children; with `workers`, it forks the serving processes. In both
    cases it should have no other threads. A forked process ends with SystemExit. name: what the start-up line calls the
    application. In the main thread SIGTERM drains (a second one stops), and SIGINT and SIGQUIT stop at once; in any
    other thread the server runs until the process ends. If a Python signal handler of the program raises while the
    server runs, the exception is logged and goes no further; SystemExit and KeyboardInterrupt drain.
    """
    keep_new_apart()
    settings = Settings.from_either(settings, options)
    refuse_for_serve(application, settings)
    try:
        _serve(application, settings, name or getattr(application, "__name__", "an application"))
    finally:
        release_handlers()


def _serve(application: Application | StreamFactory, settings: Settings, name: str) -> None:
    if not settings.workers:
        from halfsync.foreground import serve_alone  # noqa: PLC0415 - only one of the two is needed

        serve_alone(application, settings, name)
        return
    from halfsync.supervisor.supervise import supervise  # noqa: PLC0415

    code, forked = supervise(lambda _: application, settings, reread=lambda _: settings, name=name)
    if code or forked:
        raise SystemExit(code)


@overload
def serve_stream(handler: StreamFactory, *, settings: Settings) -> None: ...


@overload
def serve_stream(handler: StreamFactory, **options: Unpack[ServeOptions]) -> None: ...


def serve_stream(
    handler: StreamFactory, *, settings: Settings | None = None, **options: Unpack[ServeOptions]
) -> None:
    """Serve a protocol other than HTTP in the foreground until a signal ends it. Takes and raises what `serve` does.

    handler: called without arguments for each connection, when its first bytes have come; returns a `StreamHandler`.
    The deadlines that apply are `first_byte_timeout`, `keep_alive` (between two turns) and `write_timeout`. If a turn
    finds the queue full, its connection is reset.
    """
    if settings is None:
        settings = Settings.from_options(**(options | {"stream": True}))
    else:
        settings = Settings.from_either(settings, options)
    if not settings.stream:
        raise UsageError("these settings are not for a stream", remedy="set stream to true")
    serve(handler, settings=settings)
