"""The exchange: any requests, cut into any pieces, are read correctly."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.native.checks import counts
from halfsync.testing import exchanges
from tests.wsgi import pattern

PLENTY = 1 << 30
INLINE = 4096  # bytes of input that need no buffer of their own
COUNTED = ("exchange", "buffer", "spool file")

Make = Callable[..., exchanges.PyExchange]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it is sent, and what must come of it."""

    wire: bytes
    target: bytes
    body: bytes


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes an exchange. All that it held is counted back at the end."""
    before = counts()
    made: list[exchanges.PyExchange] = []
    stores: list[exchanges.PyStore] = []

    def make_one(
        *, disk: int = PLENTY, max_body: int = PLENTY, body_memory: int = 65536
    ) -> exchanges.PyExchange:
        stores.append(exchanges.PyStore(os.fsencode(tmp_path), disk))
        made.append(exchanges.PyExchange(stores[-1], max_body=max_body, body_memory=body_memory))
        return made[-1]

    yield make_one
    for exchange in made:
        exchange.close()
    assert [store.used for store in stores] == [0] * len(stores)
    after = counts()
    assert [after[kind] for kind in COUNTED] == [before[kind] for kind in COUNTED]
    assert list(tmp_path.iterdir()) == []


def counted(body: bytes, *, target: bytes = b"/", fields: bytes = b"") -> Request:
    """Return a request whose body has a Content-Length; an empty body may have none."""
    length = b"Content-Length: %d\r\n" % len(body) if body or fields else b""
    head = b"POST %b HTTP/1.1\r\nHost: h\r\n%b%b\r\n" % (target, length, fields)
    return Request(head + body, target, body)


def chunked(body: bytes, sizes: list[int], *, target: bytes = b"/", trailer: bytes = b"") -> Request:
    """Return a request whose body comes in chunks of these sizes, the last taking what is left."""
    chunks, at = [], 0
    for size in [*sizes, len(body)]:
        piece = body[at : at + size]
        at += len(piece)
        if piece:
            chunks.append(b"%x\r\n%b\r\n" % (len(piece), piece))
    head = b"POST %b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % target
    return Request(head + b"".join(chunks) + b"0\r\n" + trailer + b"\r\n", target, body)


def read(
    exchange: exchanges.PyExchange, wire: bytes, cuts: Iterator[tuple[int, bool]], how_many: int
) -> list[tuple[bytes, bytes]]:
    """Feed bytes as an engine does and return each request's target and body."""
    read_so_far: list[tuple[bytes, bytes]] = []
    while True:
        while exchange.ready:
            read_so_far.append((exchange.line[1], exchange.body))
            if len(read_so_far) == how_many:
                assert exchange.leftover + wire == b""
                return read_so_far
            if not exchange.has_more():
                exchange.renew()
            else:
                assert exchange.follow() >= 0
        size, anywhere = next(cuts)
        assert wire, "all is sent, and a request is not complete"
        taken, result = exchange.receive(wire[:size], anywhere)
        assert result == (1 if exchange.ready else 0)
        wire = wire[taken:]


SIZES = st.sampled_from([0, 1, 5, 511, 512, 3000, INLINE - 100, INLINE, 20_000, 32_768, 65_536, 70_000])
REQUESTS = st.one_of(
    st.builds(lambda size: counted(pattern(size)), SIZES),
    st.builds(
        lambda size, sizes, trailer: chunked(pattern(size, 9), sizes, trailer=trailer),
        SIZES,
        st.lists(st.integers(1, 9000), max_size=4),
        st.sampled_from([b"", b"X-Sum: 1\r\n"]),
    ),
    st.builds(lambda size: counted(b"", target=b"/" + b"t" * size), st.sampled_from([0, 10, 4000, 8000])),
)
PIECES = st.lists(
    st.tuples(st.sampled_from([1, 2, 100, 1000, INLINE, 100_000]) | st.integers(1, 9000), st.booleans()),
    min_size=1,
    max_size=8,
)


def repeat(cuts: list[tuple[int, bool]]) -> Iterator[tuple[int, bool]]:
    """Give the cuts over and over, larger after a while, so that single bytes do not take for ever."""
    for turn in range(1 << 30):
        for size, anywhere in cuts:
            yield size << (turn // 100), anywhere


@settings(max_examples=200)
@given(
    requests=st.lists(REQUESTS, min_size=1, max_size=5),
    cuts=PIECES,
    body_memory=st.sampled_from([0, 1, 4096, 65536, PLENTY]),
    blocks=st.integers(0, 1),
)
def test_any_requests_in_any_pieces(
    requests: list[Request],
    cuts: list[tuple[int, bool]],
    body_memory: int,
    blocks: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = exchanges.PyStore(os.fsencode(tmp_path_factory.getbasetemp()), PLENTY)
    exchange = exchanges.PyExchange(
        store, max_body=PLENTY, body_memory=body_memory, blocks=exchanges.make_blocks(blocks)
    )
    try:
        wire = b"".join(request.wire for request in requests)
        expected = [(request.target, request.body) for request in requests]
        assert read(exchange, wire, repeat(cuts), len(requests)) == expected
    finally:
        exchange.close()
    assert store.used == 0


@settings(max_examples=50)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=3))
def test_h11_reads_the_same_requests(requests: list[Request]) -> None:
    """The requests drawn here are what they claim to be, by another's judgement."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(b"".join(request.wire for request in requests))
    for request in requests:
        body = b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                assert event.target == request.target
            else:
                assert isinstance(event, h11.Data)
                body += event.data
        assert body == request.body
        connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


def feed(exchange: exchanges.PyExchange, wire: bytes, size: int = PLENTY) -> int:
    """Feed all of the bytes in pieces; return what the exchange said last."""
    result = 0
    while wire and result == 0:
        taken, result = exchange.receive(wire[:size])
        wire = wire[taken:]
    return result


@pytest.mark.parametrize("size", [1, 7, PLENTY])
@pytest.mark.parametrize(
    ("length", "body_memory", "place"),
    [
        (10_000, 10_000, "memory"),
        (10_001, 10_000, "disk"),
        (5, 0, "disk"),
        (1, 1, "memory"),
        (70_000, 65536, "disk"),
    ],
)
@pytest.mark.parametrize(
    "framing", [counted, lambda body: chunked(body, [3, 4000])], ids=["counted", "chunked"]
)
def test_a_body_is_in_memory_a_block_or_a_file(
    make: Make, framing: Callable[[bytes], Request], length: int, body_memory: int, place: str, size: int
) -> None:
    exchange = make(body_memory=body_memory)
    request = framing(pattern(length))
    head = request.wire.index(b"\r\n\r\n") + 4
    assert feed(exchange, request.wire[:head]) == 0
    assert feed(exchange, request.wire[head:], size) == 1
    assert (exchange.place, exchange.body) == (place, request.body)


def test_a_body_received_with_its_head_is_not_moved(make: Make) -> None:
    exchange = make(body_memory=0)
    assert feed(exchange, counted(b"small").wire) == 1
    assert (exchange.place, exchange.body) == ("data", b"small")


def test_a_body_received_in_place_takes_what_comes_behind_it(make: Make) -> None:
    exchange = make()
    first, second = counted(pattern(9000)), counted(b"", target=b"/second")
    head = first.wire.index(b"\r\n\r\n") + 4
    feed(exchange, first.wire[: head + 10])
    assert exchange.receive(first.wire[head + 10 :] + second.wire) == (8990 + len(second.wire), 1)
    assert (exchange.place, exchange.body, exchange.leftover) == ("memory", first.body, second.wire)
    assert exchange.follow() == 1
    assert exchange.line == (b"POST", b"/second")


@pytest.mark.parametrize("body_memory", [0, PLENTY])
@pytest.mark.parametrize("size", [1, 50, PLENTY])
@pytest.mark.parametrize("over", [0, 1])
def test_max_body(make: Make, over: int, size: int, body_memory: int) -> None:
    exchange = make(max_body=100, body_memory=body_memory)
    body = pattern(100 + over)
    expected = -413 if over else 1
    for request in (counted(body), chunked(body, [30, 30])):
        assert feed(exchange, request.wire, size) == expected
        exchange.renew()


def test_a_body_too_long_is_refused_before_it_is_sent(make: Make) -> None:
    assert feed(make(max_body=99), b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n") == -413


@pytest.mark.parametrize("size", [100, PLENTY])
@pytest.mark.parametrize("disk", [0, 499, 500])
def test_a_body_over_the_disk_budget_is_refused(make: Make, disk: int, size: int) -> None:
    exchange = make(body_memory=0, disk=disk)
    body = pattern(500)
    for request in (counted(body), chunked(body, [123])):
        head = request.wire.index(b"\r\n\r\n") + 4
        feed(exchange, request.wire[:head])
        assert feed(exchange, request.wire[head:], size) == (1 if disk == 500 else -503)
        exchange.renew()  # and what was used is free again


def test_a_disk_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    store = exchanges.PyStore(os.fsencode(tmp_path / "missing"), PLENTY)
    exchange = exchanges.PyExchange(store, max_body=PLENTY, body_memory=0)
    request = counted(pattern(5000))
    assert feed(exchange, request.wire, 200) == -503
    exchange.close()
    assert store.used == 0


def test_two_exchanges_share_one_budget(tmp_path: Path) -> None:
    store = exchanges.PyStore(os.fsencode(tmp_path), 1000)
    first, second = (exchanges.PyExchange(store, max_body=PLENTY, body_memory=0) for _ in range(2))
    wire = chunked(pattern(600), []).wire
    assert feed(first, wire, 100) == 1
    assert feed(second, wire, 100) == -503
    assert store.used == 600
    first.renew()
    second.renew()
    assert feed(second, wire, 100) == 1
    first.close()
    second.close()
    assert store.used == 0


@pytest.mark.parametrize(
    ("wire", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        (b"GET /" + b"a" * 9000, 414),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 9000, 431),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    ],
)
@pytest.mark.parametrize("size", [1, PLENTY])
def test_a_refusal_is_passed_on(make: Make, wire: bytes, status: int, size: int) -> None:
    exchange = make()
    assert feed(exchange, wire, size) == -status
    assert not exchange.ready


def test_100_continue_is_wanted_only_before_the_body(make: Make) -> None:
    exchange = make()
    request = counted(b"body", fields=b"Expect: 100-continue\r\n")
    assert feed(exchange, request.wire[:-4]) == 0
    assert exchange.want_continue
    assert feed(exchange, b"body") == 1
    exchange.renew()
    assert not exchange.want_continue
    assert feed(exchange, request.wire[:-2]) == 0
    assert not exchange.want_continue


def test_a_head_larger_than_the_exchange_itself(make: Make) -> None:
    exchange = make()
    fields = b"".join(b"X-%d: %b\r\n" % (number, b"v" * 1000) for number in range(20))
    assert feed(exchange, counted(b"body", fields=fields).wire, 777) == 1
    assert len(exchange.fields) == 22
    assert exchange.fields[-1] == (b"X-19", b"v" * 1000)
    assert exchange.body == b"body"
