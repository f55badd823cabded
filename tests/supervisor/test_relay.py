"""Moving connections from one queue to another: unchanged, as far as there is room, and without a leak."""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from halfsync.supervisor.relay import RECORDS_PER_TURN, Relay
from halfsync.testing import handoffs as handover

Queue = tuple[socket.socket, socket.socket]


@contextmanager
def queue() -> Iterator[Queue]:
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reader, writer:
        yield reader, writer


@pytest.fixture
def source() -> Iterator[Queue]:
    with queue() as made:
        yield made


@pytest.fixture
def target() -> Iterator[Queue]:
    with queue() as made:
        yield made


@pytest.fixture
def client() -> Iterator[Queue]:
    """Return a connected pair: what is moved, and its client."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def take(reader: socket.socket) -> tuple[int, int, bytes]:
    """Take a record: its descriptor, the number of its requests, and its data."""
    taken = handover.take(reader.fileno())
    assert not isinstance(taken, str), taken
    fd, _, _, requests, _, data = taken
    return fd, requests, data


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("size", [0, 1, handover.MOST])
def test_a_record_is_moved_unchanged(source: Queue, target: Queue, client: Queue, size: int) -> None:
    data = os.urandom(size)
    handover.send(source[1].fileno(), client[0].fileno(), requests=7, data=data)
    before = descriptors()
    relay = Relay(source[0], target[1])
    relay.move()
    assert (descriptors(), relay.is_empty, relay.over, relay.waits) == (before, True, False, False)
    fd, requests, received = take(target[0])
    assert (requests, received) == (7, data)
    with socket.socket(fileno=fd) as moved:
        moved.send(b"x")
        assert client[1].recv(1) == b"x"


def test_what_finds_no_room_waits(source: Queue, target: Queue, client: Queue) -> None:
    while handover.send(target[1].fileno(), client[0].fileno(), data=bytes(handover.MOST)) == "sent":
        pass
    handover.send(source[1].fileno(), client[0].fileno(), data=b"first", requests=1)
    handover.send(source[1].fileno(), client[0].fileno(), data=b"second" * 10_000, requests=2)
    before = descriptors()
    relay = Relay(source[0], target[1])
    while not relay.waits:  # a small one may still find room
        relay.move()
    assert (relay.fds, relay.is_empty) == ([], False)
    moved: list[int] = []
    while len(moved) < 2:
        fd, requests, _ = take(target[0])
        os.close(fd)
        moved += [requests] if requests else []
        relay.move()
    assert moved == [1, 2]
    assert relay.fds == [source[0].fileno()]
    assert descriptors() <= before


def test_no_turn_is_longer_than_it_may_be(source: Queue, target: Queue, client: Queue) -> None:
    for _ in range(RECORDS_PER_TURN + 1):
        assert handover.send(source[1].fileno(), client[0].fileno()) == "sent"
    relay = Relay(source[0], target[1])
    relay.move()
    for _ in range(RECORDS_PER_TURN):
        os.close(take(target[0])[0])
    assert handover.take(target[0].fileno()) == "none"
    relay.move()
    os.close(take(target[0])[0])


def test_it_is_over_when_no_process_can_put(source: Queue, target: Queue, client: Queue) -> None:
    handover.send(source[1].fileno(), client[0].fileno())
    source[1].close()
    relay = Relay(source[0], target[1])
    relay.move()
    assert relay.over and relay.fds == []
    os.close(take(target[0])[0])


def test_a_record_stays_in_its_queue_while_no_descriptor_is_free(
    source: Queue, target: Queue, client: Queue
) -> None:
    handover.send(source[1].fileno(), client[0].fileno())
    relay = Relay(source[0], target[1])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = os.dup(0)
    os.close(last)
    resource.setrlimit(resource.RLIMIT_NOFILE, (last, limits[1]))
    try:
        relay.move()
        assert relay.waits
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    relay.move()
    assert not relay.waits
    os.close(take(target[0])[0])


@pytest.mark.parametrize("how", ["nobody takes it", "it is closed"])
def test_what_cannot_be_moved_is_closed(source: Queue, target: Queue, client: Queue, how: str) -> None:
    while handover.send(target[1].fileno(), client[0].fileno(), data=bytes(handover.MOST)) == "sent":
        pass
    handover.send(source[1].fileno(), client[0].fileno(), data=bytes(handover.MOST))
    before = descriptors()
    relay = Relay(source[0], target[1])
    relay.move()
    assert descriptors() == before + 1
    if how == "it is closed":
        relay.close()
    else:
        target[0].shutdown(socket.SHUT_RD)
        relay.move()
    assert descriptors() == before
