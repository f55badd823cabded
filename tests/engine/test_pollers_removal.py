"""A handle that is removed while a poller reports events gets no more events."""

import socket

import pytest

from halfsync.testing.pollers import CONNECTION, ROOM_BYTES, PyHandle
from tests.engine.harness import GONE, MORE, NOW_MS, Connect, Engine, Event, drain, fill, text


@pytest.mark.parametrize("event", ["received", "left", "broken", "sendable"])
def test_a_connection_may_be_removed_in_any_callback(engine: Engine, connect: Connect, event: str) -> None:
    handle, client = connect()
    other, other_client = connect()

    def remove(now: Event) -> None:
        if now[1] == 0:  # a second event would remove it again, which fails
            engine.poller.remove(handle)
            engine.answer = GONE

    def remove_when_sendable(now: Event) -> None:
        if now[0] == "sendable":
            engine.poller.remove(handle)

    engine.before = remove
    if event == "sendable":
        drain_later = fill(engine, handle)
        client.sendall(b"and bytes")
        engine.before = remove_when_sendable
        engine.room_bytes = 0
        drain(client, drain_later)
    elif event == "received":
        client.sendall(b"request")
    elif event == "left":
        client.shutdown(socket.SHUT_WR)
    else:
        client.close()
    events = engine.until(bool)
    assert events[0][1] == 0
    engine.before, engine.answer, engine.room_bytes = lambda now: None, MORE, ROOM_BYTES
    other_client.sendall(b"still here")
    assert text(engine.until(bool), 1) == b"still here"
    assert other.index == 1


def test_a_connection_may_be_removed_by_another_and_its_event_is_stale(engine: Engine) -> None:
    """Both have an event in one cycle; whichever is reported first removes both, as a deadline or a drain does."""
    pairs = [socket.socketpair() for _ in range(2)]
    handles = [engine.watch(ours) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.sendall(b"request")

    def remove(_now: Event) -> None:
        for handle in handles:
            engine.poller.remove(handle)
        engine.answer = GONE
        engine.before = lambda now: None

    engine.before = remove
    events = engine.cycle()
    assert len(events) == 1
    assert engine.cycle(NOW_MS) == []
    for pair in pairs:
        for sock in pair:
            sock.close()


def test_a_reused_index_never_gets_the_event_of_its_predecessor(engine: Engine) -> None:
    """While one is reported, the other is closed and its index and descriptor go to a new connection."""
    pairs = [socket.socketpair() for _ in range(2)]
    handles = [engine.watch(ours) for ours, _ in pairs]
    for _, theirs in pairs:
        theirs.sendall(b"old")
    fresh: list[socket.socket] = []

    def replace(now: Event) -> None:
        engine.before = lambda now: None
        which = 1 - now[1]
        engine.poller.remove(handles[which])
        pairs[which][0].close()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        fresh.extend((ours, theirs))
        assert engine.poller.add(PyHandle(ours.fileno(), CONNECTION, which, generation=1)) == 0

    engine.before = replace
    events = engine.cycle()
    assert len(events) == 1
    which = 1 - events[0][1]
    assert engine.cycle(NOW_MS) == []
    fresh[1].sendall(b"new")
    assert engine.cycle() == [("received", which, b"new")]
    for sock in [*fresh, *pairs[0], *pairs[1]]:
        sock.close()
