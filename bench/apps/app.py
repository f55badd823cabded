"""The WSGI application that every WSGI server runs: a few routes, no framework, no costly import."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import InputStream, StartResponse, WSGIEnvironment

HELLO = b"Hello, World!"
PAGE = b"0123456789abcde\n" * 640
BLOCK_BYTES = 64 * 1024
FILE = os.environ.get("BENCH_FILE", os.devnull)
"""The large file of `/file`; the harness makes it and names it."""
WAITS_S = {"/wait-20": 0.02, "/wait-400": 0.4}
BURN_S = 0.002


def blocks(file: InputStream) -> Iterable[bytes]:
    """Read a file in blocks, for servers without `wsgi.file_wrapper`."""
    while block := file.read(BLOCK_BYTES):
        yield block


def burn() -> None:
    """Use the processor for `BURN_S`, by this thread's own clock: waiting for the GIL does not count."""
    end = time.thread_time() + BURN_S
    while time.thread_time() < end:
        pass


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Answer `/`, `/10k`, `/echo` (the length of the body that was sent), `/file`, the waits and `/burn-2`."""
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
    elif path in WAITS_S:
        time.sleep(WAITS_S[path])
        body = HELLO
    elif path == "/burn-2":
        burn()
        body = HELLO
    else:
        start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return []
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
