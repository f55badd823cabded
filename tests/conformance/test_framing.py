"""The framing of request bodies, seen through the server."""

import hashlib
import random
from pathlib import Path
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import Environ, pattern

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def digest(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with the digest of the body, and how often this process has written to a file or a socket."""
    lines = Path("/proc/self/io").read_text().splitlines()
    writes = dict(line.split(": ") for line in lines)["syscw"]
    start_response("200 OK", [("X-Writes", writes)])
    return [hashlib.sha256(environ["wsgi.input"].read()).hexdigest().encode()]


def chunked(body: bytes, sizes: list[int]) -> bytes:
    """Return a body in the chunked coding, in chunks of these sizes, over and over."""
    wire, at, turn = [], 0, 0
    while at < len(body):
        piece = body[at : at + sizes[turn % len(sizes)]]
        wire.append(b"%x\r\n%b\r\n" % (len(piece), piece))
        at += len(piece)
        turn += 1
    return b"".join(wire) + b"0\r\n\r\n"


@pytest.mark.parametrize("memory", [0, 1, 5000, 65_536, 1 << 20])
@pytest.mark.parametrize("sizes", [[1], [1, 4096, 7], [70_000], [65_535, 1, 1]], ids=str)
def test_chunked_body_is_decoded_however_it_is_cut(serve: Serve, memory: int, sizes: list[int]) -> None:
    body = pattern(150_001)
    expected = hashlib.sha256(body).hexdigest().encode()
    wire = (HEAD + chunked(body, sizes)) * 3  # each behind the one before
    cut = random.Random(1)
    with serve(digest, body_memory=memory) as server, Connection(server.address) as client:
        at = 0
        while at < len(wire):
            length = cut.choice([1, 100, 5000, 300_000])
            client.send(wire[at : at + length])
            at += length
        assert [client.response().body for _ in range(3)] == [expected] * 3


def test_chunks_of_one_byte_are_not_written_to_disk_one_by_one(serve: Serve) -> None:
    body = pattern(200_000)
    with serve(digest, body_memory=0) as server, Connection(server.address) as client:
        client.send(build())
        before = int(client.response().one("X-Writes") or 0)
        client.send(HEAD + chunked(body, [1]))
        response = client.response()
        assert response.body == hashlib.sha256(body).hexdigest().encode()
        assert int(response.one("X-Writes") or 0) - before < 20_000
