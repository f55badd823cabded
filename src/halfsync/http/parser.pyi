from typing import final

from halfsync.http.head import RequestHead as RequestHead

@final
class HeadParser:
    """Read one request head from bytes that arrive in pieces (RFC 9112 2 to 6). It belongs to one thread.

    Limits: request_line and field are bytes without the line's CRLF, fields is a number of field lines, and head is
    bytes with the empty line at the end. ValueError: a limit that the parser cannot keep.
    """

    def __init__(
        self, *, request_line: int = 8192, field: int = 8192, fields: int = 100, head: int = 32768
    ) -> None: ...
    def feed(self, data: bytes) -> RequestHead | None:
        """Take more bytes, and return the head once it is complete, None before.

        ProtocolError (400, 414, 417, 431, 501, 505): the head must be refused; every later call raises the same again.
        ValueError: the head was already complete.
        """

    @property
    def leftover(self) -> bytes:
        """The bytes after the head: its body, or the next request. Empty until the head is complete."""
