"""Blocks: a body that is read whole is the object that it was received into; no request sees another's bytes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.testing import exchanges
from halfsync.wsgi.body_blocks import BodyBlocks
from tests.wsgi import pattern

LEAST = 32 * 1024  # the shortest body that a block is taken for
MOST = 64 * 1024
BLOCKS = 16  # that there may be


@pytest.fixture
def blocks() -> BodyBlocks:
    return exchanges.make_blocks(1)


def make_exchange(tmp_path: Path, blocks: BodyBlocks | None) -> exchanges.PyExchange:
    return exchanges.PyExchange(
        exchanges.PyStore(os.fsencode(tmp_path), 1 << 30), max_body=1 << 30, body_memory=MOST, blocks=blocks
    )


@pytest.fixture
def exchange(tmp_path: Path, blocks: BodyBlocks) -> Iterator[exchanges.PyExchange]:
    """Return an exchange that has one block to use; after the test it must be there again."""
    made = make_exchange(tmp_path, blocks)
    yield made
    made.renew()
    assert exchanges.count_blocks(blocks) == (1, 1)
    made.close()


def receive(exchange: exchanges.PyExchange, body: bytes, *, behind: bytes = b"") -> None:
    """Have the exchange receive a request with this body, and what comes behind it."""
    wire = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body + behind
    while wire:
        taken, result = exchange.receive(wire)
        assert result >= 0
        wire = wire[taken:]
    assert exchange.ready


@pytest.mark.parametrize("size", [LEAST, LEAST + 1, MOST - 1, MOST])
def test_a_body_read_whole_takes_its_block_and_another_is_made(
    exchange: exchanges.PyExchange, blocks: BodyBlocks, size: int
) -> None:
    receive(exchange, pattern(size))
    assert exchange.place == "block"
    assert exchanges.count_blocks(blocks) == (0, 1)
    read = exchange.input().read()
    assert read == pattern(size)
    assert len(read) == size
    assert exchange.place == ""
    assert exchanges.count_blocks(blocks) == (1, 1)
    assert exchange.input().read() == b""


@pytest.mark.parametrize("size", [LEAST - 1, MOST + 1])
def test_other_sizes_take_no_block(exchange: exchanges.PyExchange, blocks: BodyBlocks, size: int) -> None:
    receive(exchange, pattern(size))
    assert exchange.place != "block"
    assert exchanges.count_blocks(blocks) == (1, 1)
    assert exchange.input().read() == pattern(size)


def test_what_the_application_keeps_is_never_received_into_again(exchange: exchanges.PyExchange) -> None:
    kept = []
    for turn in range(3 * BLOCKS):
        receive(exchange, pattern(MOST, turn))
        kept.append(exchange.input().read())
        exchange.renew()
    assert kept == [pattern(MOST, turn) for turn in range(3 * BLOCKS)]


def test_a_body_read_in_pieces_is_copied_and_its_block_used_again(
    exchange: exchanges.PyExchange, blocks: BodyBlocks
) -> None:
    receive(exchange, pattern(MOST))
    body = exchange.input()
    assert body.read(1) + body.read(MOST) == pattern(MOST)
    assert exchange.place == "block"
    exchange.renew()
    assert exchanges.count_blocks(blocks) == (1, 1)


def test_a_body_read_by_line_stays_in_its_block(exchange: exchanges.PyExchange) -> None:
    lines = b"".join(b"%d\n" % number for number in range(8000))
    assert LEAST <= len(lines) <= MOST
    receive(exchange, lines)
    assert exchange.input().readlines() == lines.splitlines(keepends=True)
    assert exchange.place == "block"


def test_an_unread_body_gives_its_block_back(exchange: exchanges.PyExchange, blocks: BodyBlocks) -> None:
    receive(exchange, pattern(MOST))
    exchange.renew()
    assert exchanges.count_blocks(blocks) == (1, 1)


def test_what_follows_the_body_is_the_next_request(exchange: exchanges.PyExchange) -> None:
    receive(exchange, pattern(LEAST), behind=b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
    assert exchange.input().read() == pattern(LEAST)
    assert exchange.follow() == 1
    assert exchange.line == (b"GET", b"/next")


def test_without_a_block_the_body_lies_in_memory_of_its_own(tmp_path: Path) -> None:
    plain = make_exchange(tmp_path, None)
    receive(plain, pattern(MOST))
    assert plain.place == "memory"
    assert plain.input().read() == pattern(MOST)
    plain.close()


def test_each_body_that_found_no_block_makes_one_until_there_are_enough(
    tmp_path: Path,
) -> None:
    blocks = BodyBlocks()
    made = [make_exchange(tmp_path, blocks) for _ in range(BLOCKS + 1)]
    for exchange in made:
        receive(exchange, pattern(MOST))
        assert exchange.place == "memory"
    for turn, exchange in enumerate(made):
        assert exchange.input().read() == pattern(MOST)
        assert exchanges.count_blocks(blocks)[1] == min(turn + 1, BLOCKS)
        exchange.renew()
    for exchange in made:
        receive(exchange, pattern(MOST))
    assert [exchange.place for exchange in made] == ["block"] * BLOCKS + ["memory"]
    for exchange in made:
        exchange.close()
    assert exchanges.count_blocks(blocks) == (BLOCKS, BLOCKS)


def test_a_body_read_in_pieces_or_of_another_size_makes_no_block(tmp_path: Path) -> None:
    blocks = BodyBlocks()
    exchange = make_exchange(tmp_path, blocks)
    for body in (pattern(LEAST - 1), pattern(MOST + 1)):
        receive(exchange, body)
        assert exchange.input().read() == body
        exchange.renew()
    receive(exchange, pattern(MOST))
    received = exchange.input()
    assert received.read(1) + received.read() == pattern(MOST)
    assert exchanges.count_blocks(blocks) == (0, 0)
    exchange.close()
