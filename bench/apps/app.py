"""The WSGI application that every WSGI server runs: four routes, no framework, no costly import."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import InputStream, StartResponse, WSGIEnvironment

HELLO = b"Hello, World!"
PAGE = b"0123456789abcde\n" * 640
BLOCK_BYTES = 64 * 1024
FILE = os.environ.get("BENCH_FILE", os.devnull)
"""The large file of `/file`; the harness makes it and names it."""


def blocks(file: InputStream) -> Iterable[bytes]:
    """Read a file in blocks, for servers without `wsgi.file_wrapper`."""
    while block := file.read(BLOCK_BYTES):
        yield block


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer `/`, `/10k`, `/echo` (the length of the body that was sent) and `/file`."""
    path = environ["PATH_INFO"]
    if path == "/":
        body = HELLO
    elif path == "/10k":
        body = PAGE
    elif path == "/echo":
        body = str(len(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))).encode()
    elif path == "/file":
        file = open(FILE, "rb")  # noqa: PTH123, SIM115 - pathlib is a costly import; the server closes the file
        length = os.fstat(file.fileno()).st_size
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(length))])
        wrapper = environ.get("wsgi.file_wrapper")
        return wrapper(file, BLOCK_BYTES) if wrapper else blocks(file)
    else:
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return []
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
