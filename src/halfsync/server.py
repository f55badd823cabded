"""The server: listeners, a model and an application, put together; started, drained and stopped.

`Server` serves in threads of its own, for embedding and tests. `serve` runs one in the foreground and obeys signals.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from halfsync.errors import UsageError
from halfsync.listeners import Listener, open_listeners
from halfsync.models.proactor import Proactor
from halfsync.native.allocator import keep_freed_memory
from halfsync.observe.access import AccessLog
from halfsync.settings import Settings
from halfsync.version import VERSION
from halfsync.wsgi.application import make_bridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

RESERVED_DESCRIPTORS = 64  # of the process's limit: for the application's own files, and the server's
QUICK_S = 1.0  # what a quick stop gives the application's threads to return


class Server:
    """Serves one WSGI application until it is closed.

    As a context manager it starts on entry; on exit it drains for at most `graceful_timeout` and stops. Settings are
    given as one `Settings`, or as keyword arguments in its terms (`bind`, `threads`, `max_body` ...), not as both.
    Raises UsageError for a setting that cannot be, and BindError for a listener that cannot be opened. All methods may
    be called by any thread, one at a time.
    """

    def __init__(self, application: Application, *, settings: Settings | None = None, **options: Any) -> None:
        if settings is not None and options:
            raise UsageError("settings and single options were both given", remedy="give one or the other")
        self.settings = Settings.from_options(**options) if settings is None else settings
        if not os.access(self.settings.temp_dir, os.W_OK | os.X_OK):
            raise UsageError(
                f"temporary files cannot be made in {self.settings.temp_dir!r}",
                origin=self.settings.origins.get("temp_dir", ""),
                remedy="name a directory that can be written to with temp_dir",
            )
        self.listeners: list[Listener] = open_listeners(self.settings.bind, self.settings.backlog)
        try:
            servers = [(listener.server_name, listener.server_port) for listener in self.listeners]
            bridge = make_bridge(application, servers, self.settings)
            descriptors = [listener.socket.fileno() for listener in self.listeners]
            self._access_log = _open_access_log(self.settings)
            self._model = Proactor(
                bridge, descriptors, self.settings, _room_for_connections(self.settings), self._access_log
            )
        except BaseException:
            self._close_listeners()
            raise
        address = self.listeners[0].socket.getsockname()
        self._address = address[:2] if isinstance(address, tuple) else address
        self._began = False  # it was started, or closed without

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
        if self._began:
            raise RuntimeError("a server can be started only once; make another")
        self._began = True
        self._model.start()

    def drain(self) -> None:
        """Refuse newcomers and begin to end: what was received is answered, idle connections are closed."""
        self._model.drain()
        self._close_listeners()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a drained server has answered everything. Returns False when `timeout` seconds were over first."""
        descriptor = self._model.done_fd
        return descriptor < 0 or bool(readable([descriptor], timeout))

    def close(self, timeout: float = QUICK_S) -> bool:
        """Stop now: connections are closed, requests that wait are dropped, those under way have `timeout` seconds.

        Returns False when threads are still in the application after that; they end when it returns.
        """
        self._began = True
        self._close_listeners()
        ended = self._model.close(timeout)
        if ended and self._access_log is not None:
            self._access_log.close()
        return ended

    def statistics(self) -> dict[str, int]:
        """Return what the server counted so far."""
        return self._model.statistics()

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
        for listener in self.listeners:
            listener.close()


def _open_access_log(settings: Settings) -> AccessLog | None:
    if settings.access_log is None:
        return None
    try:
        return AccessLog(settings.access_log, settings.log_format == "json")
    except OSError as error:
        raise UsageError(
            f"the access log {settings.access_log!r} cannot be opened: {error.strerror}",
            origin=settings.origins.get("access_log", ""),
            remedy="name a file that can be written to, or - for standard output",
        ) from None


def _room_for_connections(settings: Settings) -> int:
    """Raise the limit on open files as far as the system lets us, and return how many connections fit."""
    import resource  # noqa: PLC0415 - small, but nothing else needs it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections
    return max(1, min(settings.max_connections, soft - RESERVED_DESCRIPTORS))


def serve(
    application: Application, *, settings: Settings | None = None, name: str = "", **options: Any
) -> None:
    """Serve an application in the foreground until a signal ends it. Takes and raises what `Server` does.

    name: what the start-up line calls the application. In the main thread SIGTERM drains (a second signal stops), and
    SIGINT and SIGQUIT stop at once; in any other thread the server runs until the process ends.
    """
    if settings is None:
        settings = Settings.from_options(**options)
        options = {}
    set_up_logging(settings.log_level)
    keep_freed_memory()
    server = Server(application, settings=settings, **options)
    with Signals() as signals:
        server.start()
        urls = ", ".join(listener.url for listener in server.listeners)
        say(
            f"halfsync {VERSION} serves {name or getattr(application, '__name__', 'an application')} on {urls} "
            f"(model {settings.model}, {settings.threads} threads); Ctrl-C stops it"
        )
        run_until_told(server, signals)


def run_until_told(server: Server, signals: Signals) -> None:
    """Wait for signals and for the engine's end, and do what they ask for."""
    deadline: float | None = None
    while True:
        timeout = None if deadline is None else max(0.0, deadline - monotonic())
        number = signals.wait(server._model.done_fd, timeout)
        if number == signal.SIGTERM and deadline is None:
            deadline = monotonic() + server.settings.graceful_timeout
            say(
                f"halfsync drains: what it has received is answered within {server.settings.graceful_timeout:g} s"
            )
            server.drain()
        elif number is not None or deadline is not None:
            break
    finished = server.close()
    say(
        "halfsync stopped"
        if finished
        else "halfsync stopped; some requests were still running and are cut off"
    )


class Signals:
    """The signals that end a server, as a queue: handlers only write a byte, `wait` reads it.

    A context manager; outside the main thread, where Python delivers no signals, it waits for the server only.
    """

    NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

    def __init__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)
        if self._main:
            self._before = {number: signal.signal(number, lambda *_: None) for number in self.NUMBERS}
            self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._main:
            signal.set_wakeup_fd(self._wakeup)
            for number, handler in self._before.items():
                signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, done: int, timeout: float | None) -> int | None:
        """Return the next signal's number; None when `done` became readable or `timeout` seconds were over."""
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            ready = readable([self._reader, done], left)
            if self._reader in ready:
                number = os.read(self._reader, 1)[0]
                if number in self.NUMBERS:
                    return number
            elif ready or (left is not None and left <= 0):
                return None


def readable(descriptors: list[int], timeout: float | None) -> list[int]:
    """Wait until one of these can be read, at most `timeout` seconds, and return those that can.

    poll(2), since select(2) cannot name a descriptor above 1023, and an embedding program may have that many.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [ready for ready, _ in poll.poll(None if timeout is None else math.ceil(timeout * 1000))]


def set_up_logging(level: str) -> None:
    """Send the server's log, and the application's where it has not set up its own, to standard error."""
    import logging  # noqa: PLC0415 - the foreground server needs it, an embedded one may not

    logging.basicConfig(
        format="%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s",
        level=level.upper(),
        stream=sys.stderr,
    )


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(line, file=sys.stderr, flush=True)
