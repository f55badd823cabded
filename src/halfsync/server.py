"""The server: it puts listeners, a model and an application together; it is started, drained and stopped."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Self, overload

from halfsync.amounts import count, seconds
from halfsync.assembly import assemble
from halfsync.errors import reason_of
from halfsync.host.embedding import refuse_for_server, refuse_no_application
from halfsync.host.handlers import contain_handlers
from halfsync.host.preflight import fit_server
from halfsync.listening.listeners import Listener, close_all
from halfsync.listening.opening import open_listeners
from halfsync.log import warn
from halfsync.models.model import MainThread, make_model
from halfsync.native.forks import count_forks
from halfsync.native.system import readable
from halfsync.opened import Opened
from halfsync.runtime.originals import os
from halfsync.runtime.standard import keep_new_apart
from halfsync.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Unpack

    from halfsync.models.model import Turns
    from halfsync.runtime.signals import Signals
    from halfsync.settings.options import ServerOptions
    from halfsync.shared.scoreboard import Slot
    from halfsync.stream.handler import StreamFactory

    Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

QUICK_S = 1.0  # the time that a quick stop gives the application's threads to return


class ServerState(Enum):
    """A server's state: it goes on to the next, or to one after that, and never back."""

    MADE = "made"
    SERVING = "serving"
    ENDING = "ending"  # drain or leave was called, or the start failed
    CLOSED = "closed"


class Server:
    """Serves one WSGI application, or one protocol over raw TCP (`stream=True`), until it is closed.

    As a context manager it starts on entry; on exit it drains for at most `graceful_timeout` and stops. Settings are
    given as one `Settings`, or as keyword arguments with the same names (`bind`, `threads`, `max_body` ...), not both.
    Raises UsageError for an application that cannot be called, a setting that is unknown, cannot work or has no effect
    on a `Server` (`workers`), and BindError for a listener that cannot be opened. Any thread may
    call the methods, one call at a time, in any order. After `drain`, `leave` or `close` a server cannot be started,
    and a call that belongs to an earlier state does nothing.

    The process that makes a server owns it. In a process that the program or the model `process` forks later, `wait`,
    `close` and the end of the with-block do nothing, `wait` and `close` return True, and `address` and `url` keep their
    values. All other methods raise RuntimeError there, except `statistics` with the model `process`, whose children may
    read the counts.

    settings: those of this server. listeners: those that it has open.
    """

    settings: Settings
    listeners: list[Listener]

    @overload
    def __init__(self, application: Application | StreamFactory, *, settings: Settings) -> None: ...

    @overload
    def __init__(
        self, application: Application | StreamFactory, **options: Unpack[ServerOptions]
    ) -> None: ...

    def __init__(
        self,
        application: Application | StreamFactory,
        *,
        settings: Settings | None = None,
        **options: Unpack[ServerOptions],
    ) -> None:
        keep_new_apart()
        settings = Settings.from_either(settings, options)
        refuse_for_server(application, settings)
        self._assemble(application, settings)

    def _assemble(
        self,
        application: Application | StreamFactory,
        settings: Settings,
        *,
        listeners: list[Listener] | None = None,
        seat: Slot | None = None,
        handover: tuple[int, int] | None = None,
        opened: Opened | None = None,
    ) -> None:
        """Make the parts of the server. The arguments are those of `seat_server`."""
        self.settings = fit_server(settings)
        self.listeners = _open(self.settings) if listeners is None else list(listeners)
        files = opened
        try:
            files = opened or Opened.of(self.settings)
            parts = assemble(application, self.listeners, self.settings, files, slot=seat, queue=handover)
            self._model = make_model(parts)
        except BaseException:
            self._close_listeners()
            raise
        finally:
            if files is not None and files is not opened:
                files.close()
        self._access_log, self._refusals, self._files = parts.access_log, parts.refusals, parts.files
        self._watcher = None if self.settings.model == "process" else parts.watcher
        address = self.listeners[0].socket.getsockname() if self.listeners else None
        self._address = address[:2] if isinstance(address, tuple) else address
        self._slot = seat
        self._owner, self._forks = os.getpid(), count_forks()
        self._state = ServerState.MADE
        self._shutting_down = False

    @property
    def _is_elsewhere(self) -> bool:
        """Whether this process was forked since the server was made.

        Such a process shares the server's memory and pipes with the owner, so an order given here would reach the
        owner. Descriptors that the server has closed may belong to something else here.
        """
        return count_forks() != self._forks or os.getpid() != self._owner

    def _refuse_elsewhere(self, method: str) -> None:
        if self._is_elsewhere:
            raise RuntimeError(
                f"{method}() in process {os.getpid()}: the server belongs to process {self._owner}, which made it; "
                "call it there, or send that process a signal"
            )

    @property
    def address(self) -> Any:
        """The first listener's bound address: (host, port) for TCP, a path for a unix socket; None if there is none."""
        return self._address

    @property
    def url(self) -> str:
        """The URL of the first listener, as a person writes it; "" if there is none."""
        return self.listeners[0].url if self.listeners else ""

    def start(self) -> None:
        """Start to serve, and return. RuntimeError: it was started, drained or closed before, or made elsewhere."""
        self._start(self._model.start)

    def _start(self, start: Callable[[], Turns | None]) -> Turns | None:
        self._refuse_elsewhere("start")
        if self._state is not ServerState.MADE:
            raise RuntimeError(
                "a server can be started only once, before it is drained or closed; make another"
            )
        self._state = ServerState.SERVING
        try:
            if self._watcher is not None:
                self._watcher.start()
            return start()
        except BaseException:
            self._state = ServerState.ENDING
            self._stop_watcher()
            raise

    def _stop_watcher(self) -> bool:
        """End the thread that reads stacks. False: it is still in the application's logging."""
        return self._watcher is None or self._watcher.stop()

    def drain(self) -> None:
        """Close the listeners and begin to end: answer what was received, and close idle connections."""
        self._refuse_elsewhere("drain")
        self._end(self._model.drain)
        self._close_listeners()

    def hand_off(self, exclusive: Iterable[int] = ()) -> None:
        """Begin to end, and hand connections off to processes that accept on the same listeners (`handover`).

        The backlog is left to them. exclusive: positions of `listeners` on which no other process accepts: their
        backlog is accepted first, and then handed off or answered. A connection is handed off as soon as it is idle; a
        request that was received, or whose body is being received, is answered first. Without a hand-off queue, or if
        no process is left to adopt, connections end instead, as in `drain`. `drain` may follow, for those that no
        process has adopted. Raises TypeError or ValueError for an invalid position.
        """
        self._refuse_elsewhere("hand_off")
        positions = [count(one, "a position", 0, len(self.listeners) - 1) for one in exclusive]
        self._end(lambda: self._model.hand_off(positions))
        # Socket files stay: clients reach the other processes by them.
        self.listeners = [replace(listener, file=None) for listener in self.listeners]
        self._close_listeners()

    def _end(self, end: Callable[[], None]) -> None:
        """Let the model begin to end. One that was not started has nothing to answer, and only stops listening."""
        if self._state is ServerState.CLOSED:
            return
        if self._slot is not None:
            self._slot.stop_accepting()
        if self._state is ServerState.MADE:
            self._model.close(0.0)
        else:
            end()
        self._state = ServerState.ENDING

    def close_keepalives(self) -> None:
        """Close each connection after its next response, and go on accepting. The server is no longer ready."""
        self._refuse_elsewhere("close_keepalives")
        if self._state is ServerState.CLOSED:
            return
        self._shutting_down = True
        if self._slot is not None:
            self._slot.scoreboard.shutting_down = True
        self._model.close_keepalives()

    def reopen_logs(self) -> None:
        """Reopen the access log by its name, after log rotation has moved the old file away."""
        self._refuse_elsewhere("reopen_logs")
        try:
            if self._access_log is not None and self._state is not ServerState.CLOSED:
                self._access_log.reopen()
        except OSError as error:
            warn("the access log %r cannot be reopened: %s", self.settings.access_log, reason_of(error))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a server that drains or hands off has answered everything. False: not within `timeout` seconds.

        timeout: any real number; None, infinity and more than thirty years: as long as it takes. Raises TypeError if it
        is not a number, ValueError for NaN.
        """
        limit = seconds(timeout)
        descriptor = self._model.done_fd
        return self._is_elsewhere or descriptor < 0 or bool(readable([descriptor], limit))

    def close(self, timeout: float | None = QUICK_S) -> bool:
        """Stop now: close connections, drop waiting requests, and give running requests `timeout` seconds.

        timeout: as for `wait`; if it is invalid, nothing changes. Without a limit the application must not close its
        own server: it would wait for itself. Returns False if threads are still in the application after that; they end
        when it returns. Call it again to go on waiting, also after KeyboardInterrupt or another exception has ended the
        wait.
        """
        limit = seconds(timeout)
        if self._is_elsewhere:
            return True
        self._state = ServerState.CLOSED
        self._close_listeners()
        ended = self._model.close(limit)
        ended = self._stop_watcher() and ended
        if self._refusals is not None:
            self._refusals.close()
        if ended and self._access_log is not None:
            self._access_log.close()
        if ended and self._files is not None:
            self._files.close()
        return ended

    def statistics(self) -> dict[str, int]:
        """Return the server's counts so far."""
        if (
            self.settings.model != "process"
        ):  # its counts are in memory shared with its children, without a lock
            self._refuse_elsewhere("statistics")
        return self._model.statistics()

    @property
    def ready(self) -> bool:
        """Whether the server takes new requests, and no more than `max_stuck` threads are stuck.

        It takes none, for example, if the accepting process of the model `process` was killed.
        """
        if self._state is not ServerState.SERVING or self._shutting_down:
            return False
        if not self._is_elsewhere and self.wait(0):
            return False
        return self.statistics().get("stuck", 0) <= self.settings.max_stuck

    def __enter__(self) -> Self:
        tried = self._state is ServerState.MADE and not self._is_elsewhere
        try:
            self.start()
        except BaseException:
            if tried:  # else nothing has changed, and the code that has started it goes on with it
                self.close()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_elsewhere:
            return
        try:
            self.drain()
            self.wait(self.settings.graceful_timeout)
        finally:
            self.close()

    def _close_listeners(self) -> None:
        close_all(self.listeners)


def seat_server(
    application: Application | StreamFactory,
    settings: Settings,
    *,
    listeners: list[Listener] | None = None,
    seat: Slot | None = None,
    handover: tuple[int, int] | None = None,
    opened: Opened | None = None,
) -> Server:
    """Return a server with its place among several processes. Raises what `Server` does.

    listeners: open listeners, of which the process closes its copies in the end; empty: the server serves only what it
    adopts; None: it opens those that the settings name. seat: its slot on the scoreboard, in which it must say that it
    serves. handover: the reading and the writing end of one AF_UNIX SOCK_SEQPACKET socket pair that all processes
    share, by which a process that leaves hands its connections off to those that serve. The server makes copies of both
    ends, and the caller should close its own: a server that leaves knows that no process adopts only once no reading
    end is open. opened: what the settings name, opened before the process switched to another user.
    """
    keep_new_apart()
    refuse_no_application(application, settings)
    server = Server.__new__(Server)
    server._assemble(application, settings, listeners=listeners, seat=seat, handover=handover, opened=opened)
    return server


def start_in_front(
    server: Server, signals: Signals, unwanted: Callable[[], Sequence[int]] = tuple
) -> MainThread:
    """Start to serve in a process that does nothing else, and return what its main thread must do from now on.

    unwanted: called in each child of this process; returns descriptors that the child does not need, besides those of
    the signals.
    """
    contain_handlers()
    turns = server._start(lambda: server._model.start(lambda: [*signals.descriptors, *unwanted()]))
    return MainThread(server._model, turns)


def _open(settings: Settings) -> list[Listener]:
    """Open the listeners that the settings name. Raises UsageError or BindError."""
    return open_listeners(
        settings.bind,
        settings.backlog,
        unix_mode=settings.unix_mode,
        unix_owner=settings.unix_owner,
        secure=bool(settings.certfile),
    )
