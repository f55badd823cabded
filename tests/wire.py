"""Drive the parsers over bytes as a server does: a head, its body, and what is left over."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from halfsync.errors import ProtocolError
from halfsync.http.chunked import ChunkedParser
from halfsync.http.parser import HeadParser, RequestHead


@dataclass(frozen=True, slots=True)
class Message:
    """What came of some bytes: a whole request, a refusal (with a head: of its body), or neither yet."""

    head: RequestHead | None = None
    body: bytes = b""
    leftover: bytes = b""
    complete: bool = False
    status: int | None = None
    reason: str = ""


class MessageReader:
    """Read one request from bytes that arrive in pieces."""

    def __init__(self) -> None:
        self._head_parser = HeadParser()
        self._chunked_parser = ChunkedParser()
        self._head: RequestHead | None = None
        self._body = b""
        self._leftover = b""
        self._complete = False

    def feed(self, data: bytes) -> None:
        """Take more bytes. ProtocolError: the request must be refused."""
        if self._complete:
            self._leftover += data
        elif self._head is None:
            self._head = self._head_parser.feed(data)
            if self._head is not None:
                self._feed_body(self._head_parser.leftover)
        else:
            self._feed_body(data)

    def _feed_body(self, data: bytes) -> None:
        assert self._head is not None
        if self._head.chunked:
            self._body += b"".join(self._chunked_parser.feed(data))
            self._complete = self._chunked_parser.finished
            self._leftover = self._chunked_parser.leftover
        else:
            length = self._head.content_length or 0
            received = self._body + data
            self._body, self._leftover = received[:length], received[length:]
            self._complete = len(self._body) == length

    def message(self) -> Message:
        """Tell what came of the bytes so far."""
        return Message(self._head, self._body, self._leftover, self._complete)


def read_message(pieces: Iterable[bytes]) -> Message:
    """Read one request, stopping at a refusal."""
    reader = MessageReader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except ProtocolError as error:
        return Message(head=reader.message().head, status=error.status, reason=error.reason)
    return reader.message()


def by_byte(wire: bytes) -> list[bytes]:
    """Cut into single bytes."""
    return [wire[i : i + 1] for i in range(len(wire))]


def at_random(wire: bytes, seed: int) -> list[bytes]:
    """Cut at up to eight places that the seed determines. Pieces may be empty: a parser must accept those."""
    chance = random.Random(seed)
    cuts = sorted(chance.randint(0, len(wire)) for _ in range(chance.randint(0, 8)))
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
