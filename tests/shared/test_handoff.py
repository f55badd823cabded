"""Which connections move to another process, what their record says, and which of them a process adopts."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halfsync.listening.endpoints import Endpoints
from halfsync.testing import handoffs

ADDRESS = bytes(range(16))
RETRY_NS, RETRY_MAX_NS = 5_000_000, 80_000_000

Pair = tuple[socket.socket, socket.socket]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def queue() -> Iterator[Pair]:
    """Return both ends of a queue of records, the reading one first."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reader, writer:
        yield reader, writer


@pytest.fixture
def connection() -> Iterator[Pair]:
    """Return a connected pair: what changes its process, and its client."""
    ours, client = socket.socketpair()
    with ours, client:
        yield ours, client


def test_a_connection_is_adopted_as_it_was_offered(queue: Pair, connection: Pair) -> None:
    reader, writer = queue
    endpoints = Endpoints([])
    offered = handoffs.offer(
        writer.fileno(),
        connection[0].fileno(),
        endpoint=b"\x02" + bytes(27),
        awaits_proxy=True,
        requests=3,
        address=ADDRESS,
        data=b"PRO",
    )
    assert offered == ("sent", False)
    assert connection[0].fileno() >= 0, "the caller closes it"
    taken = handoffs.adopt(reader.fileno(), endpoints, reads_proxy=True)
    assert isinstance(taken, tuple), taken
    fd, *rest = taken
    assert rest == [0, True, 3, ADDRESS, b"PRO"]
    with socket.socket(fileno=fd) as adopted:
        adopted.sendall(b"here")
        assert connection[1].recv(10) == b"here"


def test_endpoints_that_are_equal_have_one_index(queue: Pair, connection: Pair) -> None:
    reader, writer = queue
    endpoints = Endpoints([])
    for family, index in ((2, 0), (10, 1), (2, 0)):
        handoffs.offer(writer.fileno(), connection[0].fileno(), endpoint=bytes([family]) + bytes(27))
        taken = handoffs.adopt(reader.fileno(), endpoints, reads_proxy=False)
        assert isinstance(taken, tuple), taken
        os.close(taken[0])
        assert taken[1] == index


@pytest.mark.parametrize(
    "why", [{"has_state": True}, {"may_move": False}, {"data": bytes(handoffs.MOST + 1)}], ids=str
)
def test_what_another_process_could_not_go_on_with_stays(
    queue: Pair, connection: Pair, why: dict[str, Any]
) -> None:
    reader, writer = queue
    assert handoffs.offer(writer.fileno(), connection[0].fileno(), **why) == ("too long", False)
    assert handoffs.take(reader.fileno()) == "none"


def test_the_most_bytes_move(queue: Pair, connection: Pair) -> None:
    reader, writer = queue
    data = os.urandom(handoffs.MOST)
    assert handoffs.offer(writer.fileno(), connection[0].fileno(), data=data)[0] == "sent"
    taken = handoffs.adopt(reader.fileno(), Endpoints([]), reads_proxy=False)
    assert isinstance(taken, tuple), taken
    os.close(taken[0])
    assert taken[5] == data


def test_a_connection_stays_while_the_queue_is_full(queue: Pair, connection: Pair) -> None:
    _, writer = queue
    results = [handoffs.offer(writer.fileno(), connection[0].fileno()) for _ in range(2000)]
    assert results[0] == ("sent", False)
    assert results[-1] == ("later", False)


def test_the_server_drains_once_no_process_can_adopt(queue: Pair, connection: Pair) -> None:
    reader, writer = queue
    reader.close()
    assert handoffs.offer(writer.fileno(), connection[0].fileno()) == ("deserted", True)


def test_a_connection_that_must_begin_with_a_header_that_is_not_read_here_is_closed(
    queue: Pair, connection: Pair
) -> None:
    reader, writer = queue
    ours, client = connection
    handoffs.offer(writer.fileno(), ours.fileno(), awaits_proxy=True)
    ours.close()
    before = descriptors()
    assert handoffs.adopt(reader.fileno(), Endpoints([]), reads_proxy=False) == "refused"
    assert client.recv(10) == b""
    assert descriptors() == before


def test_nothing_is_adopted_from_a_queue_that_is_empty_or_over(queue: Pair) -> None:
    reader, writer = queue
    assert handoffs.adopt(reader.fileno(), Endpoints([]), reads_proxy=False) == "none"
    writer.close()
    assert handoffs.adopt(reader.fileno(), Endpoints([]), reads_proxy=False) == "over"


def test_the_pause_between_two_attempts_grows_to_a_bound() -> None:
    pauses = [RETRY_NS]
    while len(pauses) < 8:
        pauses.append(handoffs.next_retry(pauses[-1]))
    assert pauses == [5_000_000, 10_000_000, 20_000_000, 40_000_000] + [RETRY_MAX_NS] * 4
