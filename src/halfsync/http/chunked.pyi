from typing import final

@final
class ChunkedParser:
    """Read one chunked body from bytes that arrive in pieces (RFC 9112 7.1). It belongs to one thread."""

    def __init__(self) -> None: ...
    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes; return the pieces of body in them, without the empty ones.

        ProtocolError (400, 431): the body must be refused; every later call raises the same again.
        ValueError: the body was over already.
        """

    @property
    def finished(self) -> bool:
        """True once the last chunk and the trailer section are over."""

    @property
    def leftover(self) -> bytes:
        """The bytes that came after the body. Empty while the body is not over."""
