"""The bridge if the client, or the application, does what it should not."""

import itertools
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from wsgiref.types import StartResponse

import pytest

from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import Environ, wait

WRITE_TIMEOUT_S = 30.0


def connect_slow(address: tuple[str, int]) -> socket.socket:
    """Connect with a small receive buffer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(15)
    client.connect(address)
    return client


def test_worker_does_not_hold_the_gil_while_it_waits_for_room(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(100):  # the first that the socket does not take goes to memory, the next waits
            yield bytes(60_000)

    with (
        serve(app, spool_memory=0, spool_disk=0, write_timeout=WRITE_TIMEOUT_S, graceful_timeout=0) as server,
        connect_slow(server.address) as stalled,
        Connection(server.address) as other,
    ):
        stalled.sendall(build())  # its answer is far more than the sockets hold
        begun = monotonic()
        while not server.statistics()["running"]:
            assert monotonic() - begun < WRITE_TIMEOUT_S / 2
        for _ in range(5):
            other.send(build())
            assert len(other.response().body) == 6_000_000
        assert monotonic() - begun < WRITE_TIMEOUT_S / 2


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified"), ("GET", "204 No")]
)
def test_endless_body_is_not_consumed_beyond_what_is_sent(serve: Serve, method: str, status: str) -> None:
    closed = threading.Event()

    def numbers() -> Iterator[bytes]:
        try:
            for number in itertools.count():
                yield str(number).encode()
        finally:
            closed.set()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response(status, [])
        return numbers()

    with serve(app, threads=1, graceful_timeout=1) as server, Connection(server.address) as client:
        for _ in range(2):
            client.send(build(method=method))
            assert client.response(method).body == b""
        wait(closed)


def test_response_cut_by_a_failing_disk_does_not_look_complete(serve: Serve, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        for _ in range(16):
            yield bytes(1 << 20)

    with serve(app, spool_memory=0, temp_dir=str(spool)) as server, connect_slow(server.address) as client:
        shutil.rmtree(spool)
        client.sendall(build(version="HTTP/1.0"))  # the end of the body is the end of the connection
        with pytest.raises(ConnectionResetError):
            while client.recv(1 << 20):
                pass
            pytest.fail("the response looks complete")


def test_write_is_for_the_thread_that_runs_the_application(serve: Serve) -> None:
    raised: list[BaseException] = []

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [])

        def elsewhere() -> None:
            try:
                write(b"other")
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test shows it
                raised.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        write(b"own")
        return []

    with serve(app) as server, Connection(server.address) as client:
        client.send(build())
        assert client.response().body == b"own"
    assert "must be called in the thread" in str(raised[0])
