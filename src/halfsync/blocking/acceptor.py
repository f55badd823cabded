"""Accept connections for the models in which each has a thread or a process: one loop over all listeners.

Only its wait blocks. So a new connection for which there is no room gets its 503 at once.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

from halfsync.blocking.connection import ClientConnection, accept
from halfsync.blocking.driver import CLIENT_FULL, REJECTED_LINGERING, BlockingDriver
from halfsync.native.system import readable
from halfsync.runtime.originals import monotonic, os

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from halfsync.transport.profiles import Profiles


ADOPT_AGAIN_S = 0.01  # after there was no place for a connection to adopt
ACCEPTS_MOST = 64  # connections rejected in a row before other work is done


class PendingKind(Enum):
    """The kind of connection that waits for a place while there is none."""

    NONE = auto()
    ACCEPT = auto()  # in the backlog of a listener
    ADOPTED = auto()  # handed off; another process may have a place for it


class Acceptor:
    """The listeners, new connections, and rejected ones that linger. Owned by the one thread that accepts.

    It has copies of the listening sockets, and of the reading end of the queue of connections to adopt (-1: there is
    none). It closes them when the server drains or hands its connections off. may_adopt: whether there is a place for
    an adopted connection, which must not be rejected. profiles: the transport of each listener; None: plain sockets.
    """

    def __init__(
        self,
        listeners: Sequence[int],
        driver: BlockingDriver,
        adoption_fd: int = -1,
        profiles: Profiles | None = None,
    ) -> None:
        self._driver = driver
        self._profiles = profiles
        self._adoption = os.dup(adoption_fd) if adoption_fd >= 0 else -1
        self.may_adopt: Callable[[], bool] = lambda: True
        self._listeners = [os.dup(fd) for fd in listeners]
        self._positions = list(range(len(listeners)))  # of each one, among the server's listeners
        self._next_listener = 0
        self._lingering: dict[int, tuple[ClientConnection, float]] = {}
        self._backlog: deque[ClientConnection] = deque()  # accepted when the drain began

    def watched(self, room: bool, *, adopts: bool = True) -> list[int]:
        """Return the descriptors to wait for.

        room: there is a place for a new connection. adopts: and for an adopted one.
        """
        may = room and self._may_accept()
        listening = self._listeners if may else []
        if adopts and may and self._adoption >= 0 and self.may_adopt():
            return [*listening, self._adoption, *self._lingering]
        return [*listening, *self._lingering]

    def timeout(self) -> float | None:
        """Return the longest time to wait in seconds, or None for no limit."""
        now = monotonic()
        deadlines = [deadline for _, deadline in self._lingering.values()]
        check_s = self._driver.next_accept_check(self._listeners)
        if check_s is not None:
            deadlines.append(now + check_s)
        if self._adoption >= 0 and not self.may_adopt():
            deadlines.append(now + ADOPT_AGAIN_S)
        return max(0.0, min(deadlines) - now) if deadlines else None

    def wait_for_place(self) -> PendingKind:
        """Wait for a connection, a rejected client that closes, or the drain pipe. Return what waits for a place."""
        ready = readable([self._driver.drain_fd, *self.watched(room=True)], self.timeout())
        self._driver.turned()
        if any(fd in ready for fd in self._listeners):
            return PendingKind.ACCEPT
        return PendingKind.ADOPTED if self._adoption in ready else PendingKind.NONE

    def _may_accept(self) -> bool:
        """Tell whether this process may accept now."""
        return not self._driver.is_accepting_paused and self._driver.may_accept(self._listeners)

    def has_pending_accept(self) -> bool:
        """Tell whether a connection waits in a backlog and this process may accept it."""
        return self._may_accept() and bool(readable(self._listeners, 0))

    def next_from_listener(self) -> ClientConnection | None:
        """Return a new connection from a listener, as `next` does, but never one to adopt."""
        for _ in range(ACCEPTS_MOST):
            newcomer = self._accept_new()
            if newcomer is None or self._admit(newcomer):
                return newcomer
        return None

    def next(self) -> ClientConnection | None:
        """Return a new connection, from a listener or adopted, and reject those whose clients have reached their limit.

        None: none waits, none can be accepted now, or many in a row were rejected.
        """
        while self._backlog:
            connection = self._backlog.popleft()
            if self._admit(connection):
                return connection
        for _ in range(ACCEPTS_MOST):
            newcomer = self._accept()
            if newcomer is None or self._admit(newcomer):
                return newcomer
        return None

    def _admit(self, connection: ClientConnection) -> bool:
        if self._driver.admit(connection) or connection.adopted:  # never rejected
            return True
        self.shed(connection, CLIENT_FULL)
        return False

    def _accept(self) -> ClientConnection | None:
        """Adopt or accept one connection. None: none waits, it is not possible now, or others should accept."""
        if self._driver.is_accepting_paused or not (
            self._driver.ending or self._driver.may_accept(self._listeners)
        ):
            return None
        adopted = self._adopt()
        return adopted if adopted is not None else self._accept_new()

    def _accept_new(self) -> ClientConnection | None:
        """Accept one connection from any listener. None: none waits, or none can be accepted now."""
        for _ in self._listeners:
            self._next_listener = (self._next_listener + 1) % len(self._listeners)  # take them in turn
            try:
                connection = accept(
                    self._listeners[self._next_listener],
                    self._positions[self._next_listener],
                    self._profiles,
                )
            except OSError:
                self._driver.pause_accepting()
                return None
            if connection is not None:
                self._driver.accepted()
                return connection
        return None

    def _adopt(self) -> ClientConnection | None:
        """Adopt one connection that another process has handed off, if one waits and there is a place for it."""
        if self._adoption < 0 or self._driver.others_accept or not self.may_adopt():
            return None
        try:
            return self._driver.adopt(self._adoption)
        except OSError:
            self._driver.pause_accepting()
        except EOFError:
            self._close_adoption()
        return None

    def shed(self, connection: ClientConnection, why: int) -> None:
        """Answer 503 and let the client close: closing here at once could destroy the answer (RFC 9112 9.6).

        why: as for `BlockingDriver.shed`.
        """
        if not self._driver.shed(connection, why):
            self._driver.close(connection)
            return
        if len(self._lingering) >= REJECTED_LINGERING:  # the oldest has had the most time to take its answer
            self._end(next(iter(self._lingering)))
        self._lingering[connection.fd] = (connection, monotonic() + self._driver.linger_s)

    def close_rejected(self) -> None:
        """Close each rejected connection whose client has closed it or taken too long."""
        if not self._lingering:
            return
        for fd in readable(list(self._lingering), 0):
            if not self._driver.discard(self._lingering[fd][0]):
                self._end(fd)
        now = monotonic()
        for fd in [fd for fd, (_, deadline) in self._lingering.items() if deadline <= now]:
            self._end(fd)

    def _end(self, fd: int) -> None:
        connection, _ = self._lingering.pop(fd)
        self._driver.discard(connection)  # to close with bytes unread would reset it
        self._driver.close(connection)

    @property
    def held(self) -> list[int]:
        """Return every descriptor that a forked child must close."""
        adoption = [self._adoption] if self._adoption >= 0 else []
        return [
            *self._listeners,
            *adoption,
            *self._lingering,
            *(connection.fd for connection in self._backlog),
        ]

    def wait(self, room: bool) -> None:
        """Wait for a connection, a rejected client that closes, or the drain pipe."""
        if self._driver.ending:  # the drain pipe is readable already: wait only for a pause to end
            readable(self.watched(room), self.timeout() or 0.0)
        else:
            readable([self._driver.drain_fd, *self.watched(room)], self.timeout())
        self._driver.turned()

    def empty_backlog(self) -> None:
        """Accept all connections in the backlog for `next` to return, then close the listeners.

        All are accepted at once, since to start serving one may take longer than another needs to arrive. If other
        processes accept on the same listener, its backlog is left to them.
        """
        if self._driver.others_accept:
            self._close_shared_listeners()
        last = []
        while self._listeners and (connection := self._accept()) is not None:
            last.append(connection)
        self._backlog.extend(last)
        if not self._listeners or not self._driver.is_accepting_paused:  # else try again after the pause
            self._close_listeners()

    def _close_shared_listeners(self) -> None:
        """Close the listeners on which other processes accept, and stop adopting."""
        self._close_adoption()
        pairs = list(zip(self._listeners, self._positions, strict=True))
        kept = [(fd, position) for fd, position in pairs if self._driver.keeps_listener(position)]
        self._listeners = [fd for fd, _ in kept]
        self._positions = [position for _, position in kept]
        for fd, _ in pairs:
            if fd not in self._listeners:
                os.close(fd)

    @property
    def is_listening(self) -> bool:
        """Whether a listener is open."""
        return bool(self._listeners)

    @property
    def has_backlog(self) -> bool:
        """Whether `next` has still to return connections that were accepted when the drain began."""
        return bool(self._backlog)

    def _close_listeners(self) -> None:
        """Close the listeners: from now on the system refuses new connections."""
        for fd in self._listeners:
            os.close(fd)
        self._listeners = []
        self._positions = []
        self._close_adoption()
        self._driver.listeners_closed()

    def _close_adoption(self) -> None:
        """Stop adopting."""
        if self._adoption >= 0:
            os.close(self._adoption)
            self._adoption = -1

    def close(self) -> None:
        """Close the listeners and all connections that are held here."""
        self._close_listeners()
        for fd in list(self._lingering):
            self._end(fd)
        while self._backlog:
            self._driver.close(self._backlog.popleft())
