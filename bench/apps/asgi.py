"""The first four routes as an ASGI application, for the row that shows what an async-native stack costs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

HELLO = b"Hello, World!"
PAGE = b"0123456789abcde\n" * 640
BLOCK_BYTES = 64 * 1024
FILE = os.environ.get("BENCH_FILE", os.devnull)


async def start(send: Send, status: int, length: int) -> None:
    """Send the head of a response with a body of `length` bytes."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def body_length(receive: Receive) -> int:
    """Read the request body to its end and count its bytes, joined as a WSGI application has them."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return len(b"".join(parts))


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer `/`, `/10k`, `/echo` (the length of the body that was sent) and `/file`."""
    path = scope["path"]
    if path == "/file":
        # Blocking reads, on purpose: the file is in the page cache, and a hop to a thread would cost more.
        with open(FILE, "rb") as file:  # noqa: PTH123 - pathlib is a costly import
            await start(send, 200, os.fstat(file.fileno()).st_size)
            while block := file.read(BLOCK_BYTES):
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    if path == "/":
        status, body = 200, HELLO
    elif path == "/10k":
        status, body = 200, PAGE
    elif path == "/echo":
        status, body = 200, str(await body_length(receive)).encode()
    else:
        status, body = 404, b""
    await start(send, status, len(body))
    await send({"type": "http.response.body", "body": body})
