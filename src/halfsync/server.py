"""The server: listeners, a model and an application, put together; started, drained and stopped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from halfsync.endpoints import Endpoints
from halfsync.errors import UsageError
from halfsync.http.trust import TrustedPeers
from halfsync.listeners import Listener, close_all, open_listeners
from halfsync.log import warn
from halfsync.models.model import Parts, make_model
from halfsync.native.forks import count_copies
from halfsync.native.system import raise_descriptor_limit, readable
from halfsync.observe.access import AccessLog
from halfsync.opened import Opened
from halfsync.originals import os
from halfsync.settings import Settings
from halfsync.supervisor.starting import fit_to_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from halfsync.board import Seat
    from halfsync.bridging import Bridge
    from halfsync.signals import Signals
    from halfsync.static.answer import StaticFiles
    from halfsync.stream.handler import StreamFactory

    Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

RESERVED_DESCRIPTORS = 64  # of the process's limit: for the application's own files, and the server's
QUICK_S = 1.0  # what a quick stop gives the application's threads to return


class Server:
    """Serves one WSGI application, or one protocol of raw TCP (`stream=True`), until it is closed.

    As a context manager it starts on entry; on exit it drains for at most `graceful_timeout` and stops. Settings are
    given as one `Settings`, or as keyword arguments in its terms (`bind`, `threads`, `max_body` ...), not as both.
    Raises UsageError for a setting that cannot be, and BindError for a listener that cannot be opened. All methods may
    be called by any thread, one at a time. In a process that the program has forked since the start they end nothing.

    A process of several that serve together is given open `listeners`, whose copies here it closes in the end, its
    `seat` on their board, on which it must say that it serves, and `handover`, the reading and the writing end of one
    AF_UNIX SOCK_SEQPACKET socket pair that all of them have: whoever leaves (`leave`) hands its connections over to
    those who serve. The server makes copies; the caller should close its own, since only where no reading end is open
    any more does a server that leaves know that nobody adopts. Without any listener a server serves only what it
    adopts. ``opened`` is what the settings name, opened before the process became another user.
    """

    def __init__(
        self,
        application: Application | StreamFactory,
        *,
        settings: Settings | None = None,
        listeners: list[Listener] | None = None,
        seat: Seat | None = None,
        handover: tuple[int, int] | None = None,
        opened: Opened | None = None,
        **options: Any,
    ) -> None:
        if settings is not None and options:
            raise UsageError("settings and single options were both given", remedy="give one or the other")
        self.settings = Settings.from_options(**options) if settings is None else settings
        _refuse_contradictions(self.settings)
        self.settings = fit_to_locks(self.settings)
        check_temp_dir(self.settings)
        self.listeners: list[Listener] = open_for(self.settings) if listeners is None else list(listeners)
        files = opened
        try:
            files = opened or Opened.of(self.settings)
            trusted = TrustedPeers(self.settings.forwarded_allow_ips)
            endpoints = Endpoints([listener.socket.fileno() for listener in self.listeners])
            bridge = _make_bridge(application, self.listeners, self.settings, trusted, endpoints)
            self._access_log = _make_access_log(self.settings, files, trusted)
            self._files = _make_files(self.settings, files)
            parts = Parts(
                bridge,
                [listener.socket.fileno() for listener in self.listeners],
                endpoints,
                self.settings,
                _room_for_connections(self.settings),
                self._access_log,
                self._files,
                seat,
                handover,
            )
            self._model = make_model(parts)
        except BaseException:
            self._close_listeners()
            raise
        finally:
            if files is not None and files is not opened:
                files.close()
        address = self.listeners[0].socket.getsockname() if self.listeners else None
        self._address = address[:2] if isinstance(address, tuple) else address
        self._seat = seat
        self._copies = count_copies()
        self._began = False  # it was started, or closed without
        self._draining = False

    @property
    def _is_copy(self) -> bool:
        """Whether the program has forked this process since the server started.

        A copy shares memory and pipes of the server with the original, so an order given in the copy would reach that.
        """
        return self._began and count_copies() != self._copies

    @property
    def address(self) -> Any:
        """The first listener's bound address: (host, port) for TCP, a path for a unix socket."""
        return self._address

    @property
    def url(self) -> str:
        """Where the first listener is reached, as a person writes it."""
        return self.listeners[0].url

    def start(self) -> None:
        """Start to serve, and return. RuntimeError: it was started or closed before."""
        self._begin()
        self._model.start()

    def _begin(self) -> None:
        if self._began:
            raise RuntimeError("a server can be started only once; make another")
        self._began = True
        self._copies = count_copies()

    def start_in_front(self, signals: Signals, unwanted: Callable[[], Sequence[int]] = tuple) -> None:
        """Start to serve in the foreground: the caller then waits in `run_until_told`.

        unwanted: called in each child of this process, returns descriptors that it has no use for, beside those of the
        signals.
        """
        self._begin()
        self._model.start_in_front(lambda: [*signals.descriptors, *unwanted()])

    def drain(self) -> None:
        """Refuse newcomers and begin to end: what was received is answered, idle connections are closed."""
        if not self._is_copy:
            self._draining = True
            if self._seat is not None:
                self._seat.leave()
            self._model.drain()
        self._close_listeners()

    def leave(self, alone: Iterable[int] = ()) -> None:
        """Begin to end in favour of others, who accept on the same listeners and adopt connections (`handover`).

        What waits in the backlog is left to them. alone: positions of `listeners` on which no other process accepts:
        what waits there is accepted first, and then handed over or answered. A connection is handed over as soon as it
        is idle; a request that was received, or whose body is under way, is answered first. Without a hand-over, or
        with nobody left to adopt, it ends instead, as when draining. `drain` may follow, for those that nobody has
        taken.
        """
        if not self._is_copy:
            self._draining = True
            if self._seat is not None:
                self._seat.leave()
            self._model.leave(alone)
        # Socket files stay: others are reached by them.
        self.listeners = [replace(listener, file=None) for listener in self.listeners]
        self._close_listeners()

    def fade(self) -> None:
        """Let each connection end with its next response, and go on serving all who come; it is not ready any more."""
        if self._is_copy:
            return
        self._draining = True
        if self._seat is not None:
            self._seat.board.fading = True
        self._model.fade()

    def reopen_logs(self) -> None:
        """Open the access log again by its name: whoever rotates logs has moved the old file away."""
        try:
            if self._access_log is not None:
                self._access_log.reopen()
        except OSError as error:
            warn("the access log %r cannot be opened again: %s", self.settings.access_log, error.strerror)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a server that drains or leaves has answered everything. False: not within `timeout` seconds."""
        descriptor = self._model.done_fd
        return self._is_copy or descriptor < 0 or bool(readable([descriptor], timeout))

    def close(self, timeout: float = QUICK_S) -> bool:
        """Stop now: connections are closed, requests that wait are dropped, those under way have `timeout` seconds.

        Returns False when threads are still in the application after that; they end when it returns.
        """
        if self._is_copy:
            self._close_listeners()
            return True
        self._began = self._draining = True
        self._close_listeners()
        ended = self._model.close(timeout)
        if ended and self._access_log is not None:
            self._access_log.close()
        if ended and self._files is not None:
            self._files.close()
        return ended

    def statistics(self) -> dict[str, int]:
        """Return what the server counted so far."""
        return self._model.statistics()

    @property
    def ready(self) -> bool:
        """Whether it takes new requests, and not more of its threads are stuck than may be."""
        counts = self.statistics()
        return self._began and not self._draining and counts.get("stuck", 0) <= self.settings.max_stuck

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.drain()
        self.wait(self.settings.graceful_timeout)
        self.close()

    def _close_listeners(self) -> None:
        close_all(self.listeners)


def open_for(settings: Settings) -> list[Listener]:
    """Open the listeners that the settings name. Raises UsageError or BindError."""
    return open_listeners(
        settings.bind, settings.backlog, unix_mode=settings.unix_mode, unix_owner=settings.unix_owner
    )


def check_temp_dir(settings: Settings) -> None:
    """Refuse a directory in which this process, as the user that it is now, can make no files. Raises UsageError."""
    if not os.access(settings.temp_dir, os.W_OK | os.X_OK):
        raise UsageError(
            f"temporary files cannot be made in {settings.temp_dir!r}",
            origin=settings.origins.get("temp_dir", ""),
            remedy="name a directory that can be written to with temp_dir",
        )


def _refuse_contradictions(settings: Settings) -> None:
    """Refuse settings that mean nothing together."""
    if settings.stream and settings.access_log is not None:
        raise UsageError(
            "a stream has no requests to log",
            origin=settings.origins.get("access_log", ""),
            remedy="leave access_log out; the handler may log what it likes",
        )
    if settings.stream and settings.static:
        raise UsageError(
            "a stream has no requests for files",
            origin=settings.origins.get("static", ""),
            remedy="leave static out",
        )
    if settings.stream and settings.keep_alive == 0:
        raise UsageError(
            "a stream must be able to idle between two turns",
            origin=settings.origins.get("keep_alive", ""),
            remedy="set keep_alive above 0",
        )

    if settings.request_timeout > 0 and settings.model != "proactor":
        raise UsageError(
            f"request_timeout needs somebody to answer for the application, whom the model {settings.model} has not",
            origin=settings.origins.get("request_timeout", ""),
            remedy="use the model proactor, or leave request_timeout out",
        )


def _make_bridge(
    application: Any,
    listeners: list[Listener],
    settings: Settings,
    trusted: TrustedPeers,
    endpoints: Endpoints,
) -> Bridge:
    """Return the bridge to a WSGI application or to a stream's handlers; only that one is loaded."""
    if settings.stream:
        from halfsync.stream.streaming import StreamBridge  # noqa: PLC0415

        return StreamBridge(application)
    from halfsync.wsgi.application import make_bridge  # noqa: PLC0415

    servers = [(listener.server_name, listener.server_port) for listener in listeners]
    return make_bridge(application, servers, settings, trusted, endpoints)


def _make_files(settings: Settings, opened: Opened) -> StaticFiles | None:
    """Return what serves the directories of static files; it is loaded only where there are some."""
    if not opened.directories:
        return None
    from halfsync.static.mounts import serve_directories  # noqa: PLC0415

    return serve_directories(opened.directories, settings)


def _make_access_log(settings: Settings, opened: Opened, trusted: TrustedPeers) -> AccessLog | None:
    if settings.access_log is None:
        return None
    # The model `process` starts no thread, and so no writer for the log.
    direct = settings.model == "process"
    return AccessLog(settings.access_log, opened.access_log, settings.log_format == "json", direct, trusted)


def _room_for_connections(settings: Settings) -> int:
    """Raise the limit on open files as far as the system lets us, and return how many connections fit."""
    descriptors = raise_descriptor_limit(settings.max_connections + RESERVED_DESCRIPTORS)
    return max(1, min(settings.max_connections, descriptors - RESERVED_DESCRIPTORS))
