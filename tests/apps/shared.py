"""What the applications of all frameworks have in common: the facts that they report and the data that they send."""

import hashlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from tests.sharing import FORK
from tests.wsgi import Environ, pattern, wait

HELLO = b"hello from a framework\n"
STREAM_LINES = 50
FILE_BYTES = 1_000_003
READ_BYTES = 50_000

live_gate = FORK.Event()  # a test opens it when it has received the first line of /live


class OnPurposeError(Exception):
    """What /raise raises."""


class Readable(Protocol):
    """A stream of bytes, as every framework gives one for a body or a file."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""


def measure(stream: Readable) -> dict[str, Any]:
    """Read a stream to its end and return its size and digest."""
    digest, size = hashlib.sha256(), 0
    while part := stream.read(READ_BYTES):
        digest.update(part)
        size += len(part)
    return {"size": size, "sha256": digest.hexdigest()}


def facts(environ: Environ, path: str) -> dict[str, Any]:
    """Return what the environ says of a request, and the path as the framework understood it."""
    fields = {key[5:]: value for key, value in environ.items() if key.startswith("HTTP_")}
    return {
        "method": environ["REQUEST_METHOD"],
        "path": path,
        "query": environ["QUERY_STRING"],
        "content_type": environ.get("CONTENT_TYPE", ""),
        "fields": fields,
    }


def stream() -> Iterator[bytes]:
    """Yield lines."""
    for number in range(STREAM_LINES):
        yield b"line %d\n" % number


def live() -> Iterator[bytes]:
    """Yield a line, and another when the test has received the first."""
    yield b"first\n"
    wait(live_gate)
    yield b"second\n"


def file_content() -> bytes:
    """Return what /file sends."""
    return pattern(FILE_BYTES, seed=11)


def file_path() -> Path:
    """Return a file with that content, made once for each user of the machine's temporary folder and run."""
    with _file_lock:
        if not _files:
            folder = tempfile.TemporaryDirectory(prefix="halfsync-tests-")
            _files.append(folder)  # removed when the interpreter ends
            (Path(folder.name) / "file.bin").write_bytes(file_content())
        return Path(_files[0].name) / "file.bin"


_file_lock = threading.Lock()
_files: list[tempfile.TemporaryDirectory[str]] = []
