"""A fake engine for the pollers' tests: it notes what is reported, and answers what the test wants."""

import errno
import socket
from collections.abc import Callable
from typing import Any

from halfsync.testing.pollers import CONNECTION, ROOM_BYTES, PyHandle, PyPoller

GONE, HOLD, MORE = -1, 0, 1
LATER = -1000
WAIT_MS = 5000  # for what must come
NOW_MS = 0  # for what must not: everything here is on this machine, so what is to come is there already

Event = tuple[Any, ...]


class Engine:
    """A fake engine: it notes what is reported, and answers what the test wants."""

    def __init__(self, name: str) -> None:
        self.events: list[Event] = []
        self.room_bytes = ROOM_BYTES
        self.answer = MORE
        self.accepts = True
        self.cycles = 0
        self.before: Callable[[Event], object] = lambda event: None
        self.poller = PyPoller(name, self)
        self.accepted_fds: list[int] = []
        self.connections = 0

    def note(self, *event: Any) -> None:
        self.events.append(event)
        self.before(event)

    def awake(self) -> None:
        self.cycles += 1

    def room(self, handle: PyHandle) -> int:
        return self.room_bytes

    def received(self, handle: PyHandle, data: bytes | int) -> int:
        if data != -errno.EAGAIN:
            self.note("received", handle.index, data)
        return self.answer

    def hangup(self, handle: PyHandle, broken: bool) -> None:
        self.note("broken" if broken else "left", handle.index)

    def sendable(self, handle: PyHandle) -> None:
        self.note("sendable", handle.index)

    def accepted(self, listener: PyHandle, fd: int) -> bool:
        self.accepted_fds.append(fd)
        self.note("accepted", listener.index)
        return self.accepts

    def accept_failed(self, listener: PyHandle, error: int) -> None:
        self.note("accept failed", listener.index, error)

    def cycle(self, timeout_ms: int = WAIT_MS) -> list[Event]:
        """Return what happened in one cycle."""
        self.events = []
        assert self.poller.cycle(timeout_ms) >= 0
        return self.events

    def until(self, wanted: Callable[[list[Event]], bool], cycles: int = 200) -> list[Event]:
        """Return what happened in as many cycles as are needed."""
        events: list[Event] = []
        for _ in range(cycles):
            events += self.cycle()
            if wanted(events):
                return events
        raise AssertionError(f"it did not come: {events[-20:]}")

    def watch(self, sock: socket.socket, kind: int = CONNECTION) -> PyHandle:
        sock.setblocking(False)
        handle = PyHandle(sock.fileno(), kind, self.connections)
        self.connections += 1
        assert self.poller.add(handle) == 0
        return handle


Pair = tuple[PyHandle, socket.socket]
Connect = Callable[[], Pair]


def text(events: list[Event], index: int = 0) -> bytes:
    """Join what was received on one connection."""
    return b"".join(
        event[2] for event in events if event[:2] == ("received", index) and isinstance(event[2], bytes)
    )


def ended(events: list[Event], index: int = 0) -> bool:
    """Return whether the peer's end was reported: by its own call, or as a receive of nothing."""
    return ("left", index) in events or ("received", index, b"") in events or ("broken", index) in events


def fill(engine: Engine, handle: PyHandle) -> int:
    """Send until the socket takes no more; return how much it took."""
    total = 0
    while (sent := engine.poller.send(handle, bytes(65536))) != LATER:
        assert sent > 0
        total += sent
    return total


def drain(sock: socket.socket, length: int) -> None:
    while length > 0:
        length -= len(sock.recv(min(length, 1 << 20)))
