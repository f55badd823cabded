from typing import final

@final
class ChunkedParser:
    """Read one chunked body from bytes that arrive in pieces (RFC 9112 7.1). It belongs to one thread."""

    def __init__(self) -> None: ...
    def feed(self, data: bytes) -> list[bytes]:
        """Take more bytes, and return the pieces of the body in them, without empty ones.

        ProtocolError (400, 431): the body must be refused; every later call raises the same again. ValueError: the body
        had already ended.
        """

    @property
    def finished(self) -> bool:
        """True once the last chunk and the trailer section have ended."""

    @property
    def leftover(self) -> bytes:
        """The bytes that came after the body. Empty until the body has ended."""
