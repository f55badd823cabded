"""A response that its socket does not take at once: no lost wake-up, and no memory that is not counted."""

import socket
import threading
from collections.abc import Iterator

import pytest
from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import App, Environ, pattern, wait
from wsgiref.types import StartResponse

from halfsync.native import checks

MIB = 1 << 20
BODY = pattern(8 * MIB)


def whole(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with eight MiB in one piece."""
    start_response("200 OK", [("Content-Length", str(len(BODY)))])
    return [BODY]


def test_engine_is_told_of_a_piece_before_the_next_waits_for_room(serve: Serve) -> None:
    with serve(whole, spool_disk=0, write_timeout=5.0) as server:
        for _ in range(5):
            with Connection(server.address) as client:
                client.send(build())
                assert client.response().body == BODY


@pytest.mark.parametrize("memory", [0, 1000, 64 * 1024])
def test_piece_larger_than_the_memory_limit_is_taken_once_nothing_else_is_left(
    serve: Serve, memory: int
) -> None:
    with serve(whole, spool_disk=0, spool_memory=memory, write_timeout=5.0) as server:
        with Connection(server.address) as client:
            client.send(build())
            assert client.response().body == BODY
