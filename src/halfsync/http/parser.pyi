from typing import final

from halfsync.http.head import RequestHead as RequestHead

@final
class HeadParser:
    """Read one request head from bytes that arrive in pieces (RFC 9112 2 to 6). It belongs to one thread.

    The limits are bytes without the line's CRLF (request_line, field), a number of field lines (fields)
    and bytes with the empty line at the end (head). ValueError: a limit that the parser cannot keep.
    """

    def __init__(
        self, *, request_line: int = 8192, field: int = 8192, fields: int = 100, head: int = 32768
    ) -> None: ...
    def feed(self, data: bytes) -> RequestHead | None:
        """Take more bytes; return the head once it is complete, None before.

        ProtocolError (400, 414, 417, 431, 501, 505): the head must be refused; every later call raises the
        same again. ValueError: the head was complete already.
        """

    @property
    def leftover(self) -> bytes:
        """What came after the head: its body, or the next request. Empty while the head is not complete."""
