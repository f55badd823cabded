"""The parsers on pieces that lie in blocks of memory of exactly their size. Only in checks builds.

`ends` are increasing offsets into the wire: what has been received after each piece. Limits are request_line, field,
fields, head, in the units of `halfsync.http.parser.HeadParser`.
"""

from typing import Any

def read_head(
    wire: bytes, ends: list[int], limits: tuple[int, int, int, int]
) -> tuple[int, str, tuple[Any, ...] | None]:
    """Return the head's length in bytes, 0 (more is needed) or -status; the reason; the head's parts."""

def read_chunked(wire: bytes, ends: list[int], max_body: int) -> tuple[int, str, int, bytes]:
    """Return 1 (the body is over), 0 or -status; the reason; how many bytes were taken; the body so far."""
