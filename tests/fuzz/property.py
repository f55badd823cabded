"""What must be true of any bytes that a client sends, in any pieces.

- The parsers and the exchange survive: no crash, no broken assertion of theirs, and under a sanitizer no touch of a
  byte that has not been received.
- Cut into pieces, the bytes mean what they mean whole: to the head parser, to the chunked decoder, and to the exchange,
  which drives both and must find the same requests, and the same refusal behind them, as the parsers on their own.
- An accepted head has one meaning: no CR, LF or NUL in any part of it, at most one Host, at most one field of framing.
- What is accepted, h11 and httptools accept with the same meaning, but for the differences that
  tests/http/differences.py lists with their reasons.

`check` is what a fuzzer calls, and what the kept inputs are replayed through in the ordinary suite.
"""

import atexit
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from typing import Any

from halfsync.testing import exchanges, fuzz
from tests.http.differences import check_accepted
from tests.http.oracles import read_with_h11
from tests.wire import read_message

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAMING = (b"content-length", b"transfer-encoding")
PLENTY = 1 << 40  # bytes
USUAL_LIMITS = (8192, 8192, 100, 32768)  # request line, field, fields, head
SMALL_LIMITS = (48, 40, 4, 128)  # within reach of short inputs
SMALL_BODY = 24  # bytes
BODY_MEMORY = 65536  # as it is by default: a length that is only announced may take no more
REQUESTS = 4  # of one input that the oracles are asked about; the rest of it only costs time

# The first byte of an input, bit by bit.
SMALL_HEAD, ANYWHERE, ON_DISK, IN_BLOCK, SMALL_MAX_BODY, BEHIND_CHUNKED_HEAD = (1 << bit for bit in range(6))
SIZES_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class Input:
    """The meaning of a fuzzer's bytes: a byte of options, a byte for the number of sizes, the sizes, the wire."""

    options: int
    sizes: bytes  # of the pieces, over and over; see `piece_bytes`. Empty: byte by byte
    wire: bytes

    @classmethod
    def decode(cls, data: bytes) -> "Input":
        """Read an input; any bytes are one."""
        options, count = data[:1], data[1:2]
        behind = 2 + (count[0] % (SIZES_AT_MOST + 1) if count else 0)
        return cls(options[0] if options else 0, data[2:behind], data[behind:])

    def encode(self) -> bytes:
        """Write it as `decode` reads it."""
        return bytes([self.options, len(self.sizes)]) + self.sizes + self.wire

    @property
    def whole_wire(self) -> bytes:
        """The wire with what the options put before it: the chunked decoder is reached without a head, too."""
        return CHUNKED_HEAD + self.wire if self.options & BEHIND_CHUNKED_HEAD else self.wire

    @property
    def limits(self) -> tuple[int, int, int, int]:
        """The limits of the head, in the order of the faces."""
        small = self.options & SMALL_HEAD and not self.options & BEHIND_CHUNKED_HEAD
        return SMALL_LIMITS if small else USUAL_LIMITS

    @property
    def max_body(self) -> int:
        """The bytes that a body may have."""
        return SMALL_BODY if self.options & SMALL_MAX_BODY else PLENTY

    def ends(self, length: int) -> list[int]:
        """Give the offsets at which the pieces of so many bytes end."""
        ends, at = [], 0
        sizes = cycle(map(piece_bytes, self.sizes or b"\0"))
        while at < length:
            at = min(length, at + next(sizes))
            ends.append(at)
        return ends


def piece_bytes(code: int) -> int:
    """Give a piece's length: single bytes up to 128, then in steps of 64 up to 8 KiB."""
    return 1 + code if code < 128 else (code - 127) * 64


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was accepted, and its offset on the wire."""

    line: tuple[bytes, bytes]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


# What came of a wire: its complete requests, and -status of the refusal that ended it; 0: it ended before the next did.
Outcome = tuple[list[Request], int]


@cache
def store() -> exchanges.PyStore:
    """Return the one budget of spool files."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return exchanges.PyStore(os.fsencode(folder.name), PLENTY)


def check(data: bytes) -> None:
    """Do everything with these bytes. AssertionError: something is not as the module says."""
    given = Input.decode(data)
    wire = given.whole_wire
    begins, outcome = read_with_parsers(given, wire)
    assert read_with_exchange(given, wire, whole=True) == outcome, "the exchange and its parsers differ"
    assert read_with_exchange(given, wire, whole=False) == outcome, "the cuts change the meaning"
    for begin in begins[:REQUESTS]:
        check_with_oracles(wire[begin:])


def read_with_parsers(given: Input, wire: bytes) -> tuple[list[int], Outcome]:
    """Read with the two parsers alone. Returns the offsets of the requests whose head was accepted, and the outcome."""
    begins: list[int] = []
    requests: list[Request] = []
    at = 0
    while at < len(wire):
        length, head = read_head(given, wire[at:])
        if head is None:
            return begins, (requests, min(0, length))
        begins.append(at)
        method, target, fields, content_length, chunked = head[0], head[1], *head[7:10]
        at += length
        if chunked:
            status, used, body = read_chunked(given, wire[at:])
        elif content_length > given.max_body:
            status, used, body = -413, 0, b""
        else:
            used = max(0, content_length)
            body = wire[at : at + used]
            status = int(len(body) == used)
        if status < 1:
            return begins, (requests, status)
        at += used
        requests.append(Request((method, target), fields, body))
    return begins, (requests, 0)


def read_head(given: Input, wire: bytes) -> tuple[int, tuple[Any, ...] | None]:
    """Read one head whole and in pieces. Returns its length or -status, and its parts once it is complete."""
    whole = fuzz.read_head(wire, [len(wire)], given.limits)
    assert fuzz.read_head(wire, given.ends(len(wire)), given.limits) == whole
    length, reason, head = whole
    if head is None:
        assert bool(reason) == (length < 0)
        return length, None
    method, target, _, _, _, _, _, fields, content_length, chunked, *_ = head
    for part in (method, target, *(part for field in fields for part in field)):
        assert not set(part) & set(b"\r\n\0"), part
    names = [name.lower() for name, _ in fields]
    assert names.count(b"host") <= 1
    framing = [name for name in names if name in FRAMING]
    assert framing == [b"transfer-encoding"] * chunked + [b"content-length"] * (content_length >= 0)
    assert wire[:length].endswith(b"\r\n\r\n")
    return length, head


def read_chunked(given: Input, wire: bytes) -> tuple[int, int, bytes]:
    """Read a chunked body whole and in pieces. Returns 1, 0 or -status, the bytes taken, and the body."""
    whole = fuzz.read_chunked(wire, [len(wire)] if wire else [], given.max_body)
    assert fuzz.read_chunked(wire, given.ends(len(wire)), given.max_body) == whole
    status, _, used, body = whole
    return status, used, body


def read_with_exchange(given: Input, wire: bytes, whole: bool) -> Outcome:
    """Read as an engine does, pipelined requests one after the other."""
    blocks = exchanges.make_blocks(1) if given.options & IN_BLOCK else None
    exchange = exchanges.PyExchange(
        store(),
        max_body=given.max_body,
        body_memory=0 if given.options & ON_DISK else BODY_MEMORY,
        blocks=blocks,
        head=given.limits,
    )
    try:
        ends = [len(wire)] if whole else given.ends(len(wire))
        return drive(exchange, wire, ends, bool(given.options & ANYWHERE))
    finally:
        exchange.close()


def drive(exchange: exchanges.PyExchange, wire: bytes, ends: list[int], anywhere: bool) -> Outcome:
    """Receive the pieces, as much of each at a time as there is room for."""
    requests: list[Request] = []
    at = result = 0
    for end in ends:
        while at < end or exchange.ready:
            if exchange.ready:
                requests.append(Request(exchange.line, tuple(exchange.fields), exchange.body))
                if exchange.has_more():
                    result = exchange.follow()
                else:
                    exchange.renew()
                    result = 0
            else:
                taken, result = exchange.receive(wire[at:end], anywhere)
                assert taken > 0, "there is never room"
                at += taken
            if result < 0:
                return requests, result
            assert result == int(exchange.ready)
    return requests, 0


def check_with_oracles(wire: bytes) -> None:
    """Ask h11 and httptools about a wire that begins with a head that we accept."""
    ours = read_message([wire])
    assert ours.head is not None
    if ours.status is None:
        check_accepted(wire, ours, read_with_h11(wire))
