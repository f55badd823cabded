"""Accepting, for the models in which a connection gets a thread or a process: one loop over all listeners.

It never blocks but in its wait, so that a newcomer for whom there is no room is told so at once.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

from halfsync.blocking.connection import Client, accept
from halfsync.blocking.driver import CLIENT_FULL, Carrier
from halfsync.native.system import readable
from halfsync.runtime.originals import monotonic, os

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


ADOPT_AGAIN_S = 0.01  # after there was no place for a connection that waits to be adopted
PAUSE_S = 0.1  # after accept failed for want of descriptors or memory
DEAF_S = 0.02  # after which one that leaves newcomers to other processes looks again
LEAVE_S = 2.0  # that a client who was told to go has to do so
ACCEPTS_MOST = 64  # newcomers who are turned away before something else has its turn
LEAVING_MOST = 256  # clients that are leaving at one time; past it the first is cut off


class Newcomer(Enum):
    """What waits for a place while there is none."""

    NONE = auto()
    KNOCKS = auto()  # in the backlog of a listener
    ADOPTED = auto()  # from a process that has left; another process may have a place for it


class Acceptor:
    """The listeners, newcomers, and those who were told to go. Owned by the one thread that accepts.

    It has copies of the listening sockets, and of the reading end of the queue of connections to adopt (-1: there is
    none), and closes them when it drains or leaves. may_adopt: whether there is a place for an adopted connection, whom
    nobody may send away.
    """

    def __init__(self, listeners: Sequence[int], carrier: Carrier, adoption_fd: int = -1) -> None:
        self._carrier = carrier
        self._adoption = os.dup(adoption_fd) if adoption_fd >= 0 else -1
        self.may_adopt: Callable[[], bool] = lambda: True
        self._listeners = [os.dup(fd) for fd in listeners]
        self._positions = list(range(len(listeners)))  # of each, among the server's
        self._turn = 0
        self._paused_until = 0.0
        self._leaving: dict[int, tuple[Client, float]] = {}
        self._last: deque[Client] = deque()  # those who waited in the backlog when it was emptied

    def watched(self, room: bool, *, adopts: bool = True) -> list[int]:
        """Return the descriptors to wait for. room: there is a place for a newcomer. adopts: and for an adopted one."""
        may = room and monotonic() >= self._paused_until and self._carrier.listens(self._listeners)
        listening = self._listeners if may else []
        if adopts and may and self._adoption >= 0 and self.may_adopt():
            return [*listening, self._adoption, *self._leaving]
        return [*listening, *self._leaving]

    def timeout(self) -> float | None:
        """Return how many seconds to wait at most."""
        now = monotonic()
        deadlines = [deadline for _, deadline in self._leaving.values()]
        if self._paused_until > now:
            deadlines.append(self._paused_until)
        if self._carrier.deaf or not self._carrier.listens(self._listeners):
            deadlines.append(now + DEAF_S)
        if self._adoption >= 0 and not self.may_adopt():
            deadlines.append(now + ADOPT_AGAIN_S)
        return max(0.0, min(deadlines) - now) if deadlines else None

    def wait_full(self) -> Newcomer:
        """Wait for a newcomer, a refused client that leaves, or the bell. Returns what waits for a place."""
        ready = readable([self._carrier.drain_bell, *self.watched(room=True)], self.timeout())
        self._carrier.turned()
        if any(fd in ready for fd in self._listeners):
            return Newcomer.KNOCKS
        return Newcomer.ADOPTED if self._adoption in ready else Newcomer.NONE

    def is_knocked_at(self) -> bool:
        """Tell whether a newcomer waits in a backlog, and this process may accept it."""
        may = monotonic() >= self._paused_until and self._carrier.listens(self._listeners)
        return may and bool(readable(self._listeners, 0))

    def knocked(self) -> Client | None:
        """Return a newcomer from a listener, as `next` does, but never a connection that waits to be adopted."""
        for _ in range(ACCEPTS_MOST):
            newcomer = self._accept_new()
            if newcomer is None or self._let_in(newcomer):
                return newcomer
        return None

    def next(self) -> Client | None:
        """Return a newcomer from any listener, and turn away those whose clients have all that they may have.

        None: nobody waits, or it cannot be now, or many were turned away.
        """
        while self._last:
            client = self._last.popleft()
            if self._let_in(client):
                return client
        for _ in range(ACCEPTS_MOST):
            newcomer = self._accept()
            if newcomer is None or self._let_in(newcomer):
                return newcomer
        return None

    def _let_in(self, client: Client) -> bool:
        if self._carrier.admit(client) or client.adopted:  # which nobody is cut for
            return True
        self.shed(client, CLIENT_FULL)
        return False

    def _accept(self) -> Client | None:
        """Adopt or accept one connection that waits. None: nobody waits, it cannot be now, or it is others' turn."""
        if monotonic() < self._paused_until or not (
            self._carrier.draining or self._carrier.listens(self._listeners)
        ):
            return None
        adopted = self._adopt()
        return adopted if adopted is not None else self._accept_new()

    def _accept_new(self) -> Client | None:
        """Accept one connection from any listener. None: none waits, or none can be accepted now."""
        for _ in self._listeners:
            self._turn = (self._turn + 1) % len(self._listeners)  # each listener has its turn
            try:
                client = accept(self._listeners[self._turn], self._positions[self._turn])
            except OSError:
                self._paused_until = monotonic() + PAUSE_S
                return None
            if client is not None:
                self._carrier.accepted()
                return client
        return None

    def _adopt(self) -> Client | None:
        """Take over one connection from a process that has left, if one waits and there is a place for it."""
        if self._adoption < 0 or self._carrier.others_accept or not self.may_adopt():
            return None
        try:
            return self._carrier.adopt(self._adoption)
        except OSError:
            self._paused_until = monotonic() + PAUSE_S
        except EOFError:
            self._close_adoption()
        return None

    def shed(self, client: Client, why: int) -> None:
        """Answer 503 and let the client leave: closing at once could take the answer from it (RFC 9112 9.6).

        why: as for `Carrier.shed`.
        """
        if not self._carrier.shed(client, why):
            self._carrier.close(client)
            return
        if len(self._leaving) >= LEAVING_MOST:
            self._end(next(iter(self._leaving)))
        self._leaving[client.fd] = (client, monotonic() + LEAVE_S)

    def see_off(self) -> None:
        """Close the connections of those who have left, or took too long to."""
        if not self._leaving:
            return
        for fd in readable(list(self._leaving), 0):
            if not self._carrier.discard(self._leaving[fd][0]):
                self._end(fd)
        now = monotonic()
        for fd in [fd for fd, (_, deadline) in self._leaving.items() if deadline <= now]:
            self._end(fd)

    def _end(self, fd: int) -> None:
        client, _ = self._leaving.pop(fd)
        self._carrier.close(client)

    @property
    def held(self) -> list[int]:
        """Return every descriptor that a forked child has no use for."""
        adoption = [self._adoption] if self._adoption >= 0 else []
        return [*self._listeners, *adoption, *self._leaving, *(client.fd for client in self._last)]

    def wait(self, room: bool) -> None:
        """Wait for somebody to come or leave, or for the bell."""
        if self._carrier.draining:  # the bell has rung; only a pause is waited for
            readable(self.watched(room), self.timeout() or 0.0)
        else:
            readable([self._carrier.drain_bell, *self.watched(room)], self.timeout())
        self._carrier.turned()

    def empty_backlog(self) -> None:
        """Accept all who wait, for `next` to look at, and then refuse newcomers.

        At once, since to begin with a connection may take longer than another needs to come. Where others accept on the
        same listener, those who wait are theirs.
        """
        if self._carrier.others_accept and not self._leave_to_others():
            self._unlisten()
            return
        last = []
        while self._listeners and (client := self._accept()) is not None:
            last.append(client)
        self._last.extend(last)
        if monotonic() >= self._paused_until:  # else there may be more, once descriptors are there for them
            self._unlisten()

    def _leave_to_others(self) -> bool:
        """Close the listeners on which others accept, and adopt no more. Returns whether one is left."""
        self._close_adoption()
        pairs = list(zip(self._listeners, self._positions, strict=True))
        for fd, position in pairs:
            if not self._carrier.is_alone(position):
                os.close(fd)
        alone = [(fd, position) for fd, position in pairs if self._carrier.is_alone(position)]
        self._listeners = [fd for fd, _ in alone]
        self._positions = [position for _, position in alone]
        return bool(alone)

    @property
    def listens(self) -> bool:
        """Whether newcomers may still come."""
        return bool(self._listeners)

    @property
    def has_last(self) -> bool:
        """Whether connections that were accepted as the drain began are still to be returned by `next`."""
        return bool(self._last)

    def _unlisten(self) -> None:
        """Close the listeners: newcomers are refused by the system."""
        for fd in self._listeners:
            os.close(fd)
        self._listeners = []
        self._positions = []
        self._close_adoption()
        self._carrier.unlistened()

    def _close_adoption(self) -> None:
        """Adopt no more."""
        if self._adoption >= 0:
            os.close(self._adoption)
            self._adoption = -1

    def close(self) -> None:
        """Close everything."""
        self._unlisten()
        for fd in list(self._leaving):
            self._end(fd)
        while self._last:
            self._carrier.close(self._last.popleft())
