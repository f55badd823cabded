"""The record of a connection that changes its process: what is sent is taken, and nothing else is."""

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.testing import handoffs as handover

# magic, version, awaits_proxy, length of the address, requests, length of the data, address, endpoint
HEADER = struct.Struct("=IHBBII28s28s")
MAGIC, VERSION = 0x4F766148, 2
ADDRESS = bytes(range(16))
ENDPOINT = bytes(range(100, 128))

Queue = tuple[socket.socket, socket.socket]


def header(
    magic: int = MAGIC, version: int = VERSION, length: int = 0, address_length: int = len(ADDRESS)
) -> bytes:
    return HEADER.pack(magic, version, 0, address_length, 7, length, ADDRESS, ENDPOINT)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def queue() -> Iterator[Queue]:
    """Return both ends of a queue of records, the reading one first."""
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reader, writer:
        yield reader, writer


@pytest.fixture
def connection() -> Iterator[Queue]:
    """Return a connected pair: what changes its process, and its client."""
    ours, client = socket.socketpair()
    with ours, client:
        yield ours, client


@pytest.mark.parametrize("size", [0, 1, 4096, handover.MOST])
def test_what_is_sent_is_taken(queue: Queue, connection: Queue, size: int) -> None:
    reader, writer = queue
    data = os.urandom(size)
    sent = handover.send(
        writer.fileno(),
        connection[0].fileno(),
        endpoint=ENDPOINT,
        awaits_proxy=True,
        requests=1_000_000,
        address=ADDRESS,
        data=data,
    )
    assert sent == "sent"
    taken = handover.take(reader.fileno())
    assert isinstance(taken, tuple), taken
    fd, *rest = taken
    assert rest == [ENDPOINT, True, 1_000_000, ADDRESS, data]
    assert not os.get_inheritable(fd)
    with socket.socket(fileno=fd) as taken_over:
        taken_over.sendall(b"here")
        assert connection[1].recv(10) == b"here"
    assert handover.take(reader.fileno()) == "none"


def test_the_layout_is_what_the_version_says(queue: Queue, connection: Queue) -> None:
    reader, writer = queue
    handover.send(
        writer.fileno(),
        connection[0].fileno(),
        endpoint=ENDPOINT,
        requests=7,
        address=ADDRESS,
        data=b"GET /",
    )
    assert reader.recv(1000) == header(length=5) + b"GET /"


def test_a_valid_record_is_adopted(queue: Queue, connection: Queue) -> None:
    reader, writer = queue
    socket.send_fds(writer, [header(length=2) + b"ab"], [connection[0].fileno()])
    taken = handover.take(reader.fileno())
    assert isinstance(taken, tuple), taken
    os.close(taken[0])
    assert taken[1:] == (ENDPOINT, False, 7, ADDRESS, b"ab")


@pytest.mark.parametrize(
    "record",
    [
        header()[:-1],
        header()[:4],
        b"x",
        header(length=3) + b"ab",
        header(length=1) + b"ab",
        header(magic=MAGIC ^ 1),
        header(version=VERSION + 1),
        header(version=0),
        header(address_length=29),
        header(length=handover.MOST + 1) + bytes(handover.MOST + 1),
        header(length=2**32 - 1),
    ],
    ids=lambda record: f"{len(record)} bytes",
)
def test_what_is_no_record_is_refused_and_its_descriptor_closed(
    queue: Queue, connection: Queue, record: bytes
) -> None:
    reader, writer = queue
    before = descriptors()
    socket.send_fds(writer, [record], [connection[0].fileno()])
    assert handover.take(reader.fileno()) == "refused"
    assert descriptors() == before
    assert handover.take(reader.fileno()) == "none"


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_record_has_one_descriptor(queue: Queue, connection: Queue, number: int) -> None:
    reader, writer = queue
    before = descriptors()
    if number:
        socket.send_fds(writer, [header()], [connection[0].fileno()] * number)
    else:
        writer.send(header())
    assert handover.take(reader.fileno()) == "refused"
    assert descriptors() == before


def test_a_full_queue_returns_later_and_loses_nothing(queue: Queue, connection: Queue) -> None:
    reader, writer = queue
    number = 0
    while (sent := handover.send(writer.fileno(), connection[0].fileno(), requests=number)) == "sent":
        number += 1
        assert number < 100_000
    assert sent == "later"
    assert number > 10
    for requests in range(number):
        taken = handover.take(reader.fileno())
        assert isinstance(taken, tuple), taken
        os.close(taken[0])
        assert taken[3] == requests
    assert handover.take(reader.fileno()) == "none"
    assert handover.send(writer.fileno(), connection[0].fileno()) == "sent"


def test_a_record_that_never_fits_differs_from_one_that_may_fit_later(
    queue: Queue, connection: Queue
) -> None:
    _, writer = queue
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    assert handover.send(writer.fileno(), connection[0].fileno(), data=bytes(handover.MOST)) == "too long"
    assert handover.send(writer.fileno(), connection[0].fileno()) == "sent"


def test_without_a_reading_end_it_is_deserted(queue: Queue, connection: Queue) -> None:
    reader, writer = queue
    assert handover.send(writer.fileno(), connection[0].fileno()) == "sent"
    ours, client = connection
    ours.close()
    reader.close()
    assert client.recv(1) == b"", "what was in the queue has gone with it"
    assert handover.send(writer.fileno(), client.fileno()) == "deserted"


def test_without_a_writing_end_it_is_over(queue: Queue, connection: Queue) -> None:
    reader, writer = queue
    handover.send(writer.fileno(), connection[0].fileno())
    writer.close()
    taken = handover.take(reader.fileno())
    assert isinstance(taken, tuple), taken
    os.close(taken[0])
    assert handover.take(reader.fileno()) == "over"


def test_nothing_is_taken_without_a_free_descriptor(queue: Queue, connection: Queue) -> None:
    reader, writer = queue
    handover.send(writer.fileno(), connection[0].fileno(), requests=5)
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        assert handover.take(reader.fileno()) == "short"
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    record = handover.take(reader.fileno())
    assert isinstance(record, tuple), record
    os.close(record[0])
    assert record[3] == 5
