"""The record of a request head."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A checked request head, with its bytes as they were sent (RFC 9112 2 to 6)."""

    method: bytes
    target: bytes
    path: bytes  # of the target, not decoded; b"/" if an absolute form has none, b"" for *
    query: bytes  # after the target's first "?"
    authority: bytes  # of an absolute-form target, else of Host; b"" if there is none
    version: tuple[int, int]  # (1, 0) or (1, 1)
    headers: tuple[tuple[bytes, bytes], ...]  # (name, value) in the order sent, values stripped
    content_length: int | None  # bytes
    chunked: bool
    keep_alive: bool
    expect_continue: bool
    upgrade: bool
