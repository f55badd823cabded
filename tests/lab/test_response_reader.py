"""Responses as the load generator reads them: whatever they are, and wherever they are cut."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.lab.generating import reason_of
from halfsync.lab.generator import FAILURE_NAMES
from halfsync.lab.load import Load, Outcome
from tests.lab.scripted import Reply, Scripted, played, scripted

CLOSED = "closed before the response was complete"
MALFORMED = "malformed response"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"


@pytest.fixture(scope="module")
def peer() -> Iterator[Scripted]:
    """Return one server for all examples."""
    with scripted() as running:
        yield running


def asked(peer: Scripted, *pieces: bytes, closes: bool = False) -> Outcome:
    """Send one request, which is answered with these pieces, and return what became of it."""
    peer.replies["/"] = Reply(pieces, closes=closes)
    load = Load(peer.port, 1, 0.0015, warm_up_s=0, rate=1000.0, even=True, grace_s=30.0)
    outcome = played(load)
    assert outcome.due == 1
    return outcome


def cut(data: bytes, places: list[int]) -> tuple[bytes, ...]:
    """Cut a response at some places, which may be beyond its end."""
    marks = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return tuple(data[start:end] for start, end in pairwise(marks))


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=4))
    extension = draw(st.sampled_from([b"", b";a=b", b' ;a="b"']))
    trailer = draw(st.sampled_from([b"", b"Etag: x\r\n", b"A: 1\r\nB: 2\r\n"]))
    sizes = [b"%x" % len(chunk) if draw(st.booleans()) else b"0%X" % len(chunk) for chunk in chunks]
    body = b"".join(
        size + extension + b"\r\n" + chunk + b"\r\n" for size, chunk in zip(sizes, chunks, strict=True)
    )
    return body + b"0\r\n" + trailer + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> tuple[int, bytes, bool]:
    """Draw a status, a response that has it, and whether the end of the connection is its end."""
    status = draw(st.sampled_from([200, 204, 304, 404, 503]))
    before = INTERIM * draw(st.integers(0, 2))
    fields = [b"Content-Type: text/plain", b"C:", b"T: chunked", b"Connection-Like: close"]
    fields = draw(st.lists(st.sampled_from(fields), max_size=3))
    body, until_close = b"", False
    if status not in (204, 304):
        kind = draw(st.sampled_from(["length", "chunked", "close"]))
        if kind == "length":
            body = draw(st.binary(max_size=60))
            fields.append(draw(st.sampled_from([b"Content-Length: %d", b"content-length:\t%d "])) % len(body))
        elif kind == "chunked":
            body = draw(chunked_bodies())
            fields.append(
                draw(st.sampled_from([b"Transfer-Encoding: chunked", b"TRANSFER-ENCODING:x, Chunked"]))
            )
        else:
            body, until_close = draw(st.binary(max_size=60)), True
    head = b"\r\n".join([b"HTTP/1.1 %d Reason" % status, *draw(st.permutations(fields)), b"", b""])
    return status, before + head + body, until_close


@settings(max_examples=60)
@given(response=responses(), places=st.lists(st.integers(0, 500), max_size=5))
def test_a_response_is_counted_once_wherever_it_is_cut(
    peer: Scripted, response: tuple[int, bytes, bool], places: list[int]
) -> None:
    status, data, until_close = response
    outcome = asked(peer, *cut(data, places), closes=until_close)
    assert not outcome.failed
    assert (outcome.answered, outcome.refused, outcome.errors) == (status < 400, status == 503, status == 404)


@settings(max_examples=40)
@given(response=responses(), places=st.lists(st.integers(0, 500), max_size=4), data=st.data())
def test_a_response_whose_connection_ends_too_soon_is_none(
    peer: Scripted, response: tuple[int, bytes, bool], places: list[int], data: st.DataObject
) -> None:
    _, text, until_close = response
    end = (
        text.rindex(b"Reason") if until_close else len(text) - 1
    )  # a body until the close has no end of its own
    kept = text[: data.draw(st.integers(1, end))]
    outcome = asked(peer, *cut(kept, places), closes=True)
    assert outcome.failed == {CLOSED: 1}


@pytest.mark.parametrize(
    "response",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1234567890123456789\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 65536 + b"\r\n\r\n",
    ],
)
def test_what_is_no_response_is_malformed(peer: Scripted, response: bytes) -> None:
    assert asked(peer, response).failed == {MALFORMED: 1}


def test_a_head_that_does_not_end_is_malformed(peer: Scripted) -> None:
    head = b"HTTP/1.1 200 OK\r\nX: "
    assert asked(peer, head, *[b"x" * 40_000] * 4).failed == {MALFORMED: 1}


@pytest.mark.parametrize(
    ("response", "connections"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x-close, closed\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: CLOSE\r\n\r\n", 3),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection:x, close\r\n\r\n", 3),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 3),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore than it said", 3),
    ],
)
def test_a_connection_is_used_again_if_the_response_lets_it(
    peer: Scripted, response: bytes, connections: int
) -> None:
    peer.replies["/"] = Reply((response,))
    before = len(peer.asked)
    # The requests are 100 ms apart, and a later one waits for the connection of the one before it.
    outcome = played(Load(peer.port, 1, 0.35, warm_up_s=0, rate=10.0, even=True, grace_s=30.0))
    asked_since = [asked for asked in peer.asked[before:] if asked]
    assert outcome.answered == sum(map(len, asked_since)) == outcome.due - outcome.unsent
    assert len(asked_since) == (connections if connections == 1 else outcome.answered)


def test_each_failure_has_words() -> None:
    assert {reason_of(number) for number in FAILURE_NAMES} >= {CLOSED, MALFORMED}
    assert len(set(FAILURE_NAMES.values())) == len(FAILURE_NAMES)
