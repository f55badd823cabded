"""A response that its socket does not take at once: no lost wake-up, and all memory is counted."""

import socket
import threading
from collections.abc import Iterator
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import Environ, pattern, wait

from halfsync.native import checks

MIB = 1 << 20
BODY = pattern(8 * MIB)


def whole(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with eight MiB in one piece."""
    start_response("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]


def test_engine_is_notified_of_a_piece_before_the_next_waits_for_room(serve: Serve) -> None:
    with serve(whole, spool_disk=0, write_timeout=5.0) as server:
        for _ in range(5):
            with Connection(server.address) as client:
                client.send(build())
                assert client.response().body == BODY


@pytest.mark.parametrize("memory", [0, 1000, 64 * 1024])
def test_piece_larger_than_the_memory_limit_is_taken_once_nothing_else_is_left(
    serve: Serve, memory: int
) -> None:
    with (
        serve(whole, spool_disk=0, spool_memory=memory, write_timeout=5.0) as server,
        Connection(server.address) as client,
    ):
        client.send(build())
        assert client.response().body == BODY


def connect_slow(address: tuple[str, int]) -> socket.socket:
    """Connect with a small receive buffer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(15)
    client.connect(address)
    return client


@pytest.mark.skipif(not checks.enabled(), reason="only the checks build counts segments")
@pytest.mark.only_on("proactor", reason="a response is sent by the thread that makes it, and is never kept")
def test_small_pieces_cost_no_more_memory_than_the_limit(serve: Serve) -> None:
    made, read = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield bytes(8 * MIB)  # more than a socket takes
        for number in range(50_000):
            yield b"%05d" % number
        made.set()
        wait(read)

    with (
        serve(app, spool_memory=64 * 1024, response_ahead=0) as server,
        connect_slow(server.address) as client,
    ):
        client.sendall(build())
        wait(made)
        # Of 150000. A segment in memory is counted with what it costs by itself, and neighbours on disk are one.
        assert checks.counts()["segment"] < 4000
        read.set()
        tail = b""
        while not tail.endswith(b"0\r\n\r\n"):
            received = client.recv(MIB)
            assert received, "the connection ended early"
            tail = (tail + received)[-1000:]
        assert tail.endswith(b"5\r\n49998\r\n5\r\n49999\r\n0\r\n\r\n")
