"""The wire cases of the corpus on a live server: whole, byte by byte and in random pieces.

The parsers' own tests look at the same cases without sockets. Here the whole way is looked at: the status
that comes back, that a refusal can be read to its end before the connection closes and that nothing behind it
is answered, that what is accepted reaches the application as the case tells it, and that the connection then
stays or ends as it says, with the next request answered or not read.
"""

import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests import corpus
from tests.client import Connection, CutError, Response, build
from tests.conftest import Serve
from tests.wire import at_random, read_message
from tests.wsgi import Environ

# Printed with every failure, so that it can be had again: HALFSYNC_TEST_SEED=... make test
SEED = int(os.environ.get("HALFSYNC_TEST_SEED", "20240229"))
BYTES_ONE_BY_ONE = 160  # at either end of a case; its middle goes in larger pieces, to be quick
MIDDLE_BYTES = 1021  # odd, so that the pieces fall together with no limit
LIMITS: dict[str, Any] = {
    "max_request_line": corpus.REQUEST_LINE_BYTES,
    "max_field": corpus.FIELD_BYTES,
    "max_fields": corpus.FIELDS,
    "max_head": corpus.HEAD_BYTES,
    "max_body": 1 << 60,  # the corpus is about syntax: no length that can be written is too long for it
}
FILES = sorted({case.name.partition("/")[0] for case in corpus.load()})
NEXT = build("/the-next-one")

Cut = Callable[[bytes], list[bytes]]


def tell(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with all that the request said."""
    told = {key: value for key, value in environ.items() if isinstance(value, str)}
    told["body"] = environ["wsgi.input"].read().decode("latin-1")
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def whole(wire: bytes) -> list[bytes]:
    return [wire]


def by_byte(wire: bytes) -> list[bytes]:
    """Cut into bytes at both ends, which have the lines, lengths and chunks, and into pieces between them."""
    first, last = wire[:BYTES_ONE_BY_ONE], wire[max(BYTES_ONE_BY_ONE, len(wire) - BYTES_ONE_BY_ONE) :]
    middle = wire[len(first) : len(wire) - len(last)]
    pieces = [middle[at : at + MIDDLE_BYTES] for at in range(0, len(middle), MIDDLE_BYTES)]
    return [*(bytes([byte]) for byte in first), *pieces, *(bytes([byte]) for byte in last)]


def in_random_pieces(wire: bytes) -> list[bytes]:
    return at_random(wire, random.Random(f"{SEED} {wire!r}").getrandbits(32))


CUTS: tuple[Cut, ...] = (whole, by_byte, in_random_pieces)


@pytest.fixture(params=CUTS, ids=lambda cut: cut.__name__)
def cut(request: pytest.FixtureRequest) -> Cut:
    """Return each way of cutting in turn."""
    way: Cut = request.param
    return way


@pytest.fixture(params=FILES)
def cases(request: pytest.FixtureRequest) -> list[corpus.Case]:
    """Return the cases of each file in turn: they share a server, which must survive each of them."""
    return [case for case in corpus.load() if case.name.startswith(f"{request.param}/")]


def send(connection: Connection, pieces: list[bytes]) -> None:
    """Send the pieces, each in a packet of its own, as far as the server lets us: it may close in between."""
    for piece in pieces:
        try:
            connection.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            return


def final_response(connection: Connection, method: str = "GET") -> Response:
    """Read a response, with the interim ones before it left out."""
    while True:
        response = connection.response(method)
        if response.status >= 200:
            return response


def expected(case: corpus.Case, told: dict[str, str]) -> Iterator[tuple[object, object]]:
    """Yield pairs of what the case expects and what the application saw."""
    for name, value in case.properties:
        if name == "method":
            yield value, told["REQUEST_METHOD"].encode("latin-1")
        elif name == "target":
            yield value, told["REQUEST_URI"].encode("latin-1")
        elif name == "query":
            yield value, told["QUERY_STRING"].encode("latin-1")
        elif name == "body":
            yield value, told["body"].encode("latin-1")
        elif name == "version":
            assert isinstance(value, tuple)
            yield "HTTP/{}.{}".format(*map(str, value)), told["SERVER_PROTOCOL"]
        elif name == "content_length" and value is not None:
            yield value, int(told.get("CONTENT_LENGTH", "0"))
        elif name == "header":
            assert isinstance(value, tuple) and isinstance(value[0], bytes) and isinstance(value[1], bytes)
            key = value[0].decode("latin-1").upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            if b"_" not in value[0] and key not in ("HTTP_CONNECTION", "HTTP_TRANSFER_ENCODING"):
                # Several fields of one name reach the application as one (RFC 9110 5.3).
                yield True, value[1].decode("latin-1") in told.get(key, "").replace("; ", ", ")


def check_accepted(case: corpus.Case, connection: Connection) -> None:
    properties = dict(case.properties)
    method = case.wire.removeprefix(b"\r\n").partition(b" ")[0].decode("latin-1")
    response = final_response(connection, method)
    assert response.status == 200, response
    if method != "HEAD":
        for wanted, seen in expected(case, json.loads(response.body)):
            assert wanted == seen
    stays = response.one("Connection") != "close"
    assert properties.get("keep_alive", stays) == stays, response
    leftover = properties.get("leftover", b"")
    assert isinstance(leftover, bytes)
    if not stays:
        connection.closed()  # and nothing behind it was answered
    elif leftover:
        check_left_over(leftover, connection)
    else:
        connection.send(NEXT)
        assert json.loads(connection.response().body)["PATH_INFO"] == "/the-next-one"


def check_left_over(leftover: bytes, connection: Connection) -> None:
    """What came behind the request is taken as it would be on a connection of its own: as a whole request, or none."""
    connection.socket.shutdown(socket.SHUT_WR)
    alone = read_message([leftover])
    assert not alone.leftover, "a case has one request behind its own at most"
    if alone.status is not None or alone.complete:
        assert final_response(connection).status == (alone.status or 200)
    assert connection.rest() == b""


def check_refused(case: corpus.Case, connection: Connection) -> None:
    response = final_response(
        connection, "HEAD" if case.wire.removeprefix(b"\r\n").startswith(b"HEAD ") else "GET"
    )
    assert response.status == case.status, response
    assert response.one("Connection") == "close"
    # Not a reset, and no answer to the request that was sent behind.
    assert connection.rest() == b""


def check_incomplete(connection: Connection) -> None:
    """The server must have been waiting for more: at the end of the input it sends nothing."""
    connection.socket.shutdown(socket.SHUT_WR)
    rest = connection.rest()
    assert rest in (b"", b"HTTP/1.1 100 Continue\r\n\r\n")


def check(case: corpus.Case, address: tuple[str, int], cut: Cut) -> None:
    with Connection(address) as connection:
        wire = case.wire + NEXT if case.expect == "refuse" else case.wire
        send(connection, cut(wire))
        if case.expect == "accept":
            check_accepted(case, connection)
        elif case.expect == "refuse":
            check_refused(case, connection)
        else:
            check_incomplete(connection)


def test_cases(serve: Serve, cases: list[corpus.Case], cut: Cut) -> None:
    wrong = []
    with serve(tell, **LIMITS) as server:
        for case in cases:
            try:
                check(case, server.address, cut)
            except (AssertionError, OSError, CutError) as error:
                wrong.append(f"{case.name} ({case.why}): {type(error).__name__}: {error}")
    assert not wrong, f"seed {SEED}\n" + "\n".join(wrong)
