"""wsgi.file_wrapper over misleading files: what read() returns is sent (PEP 3333)."""

import bz2
import codecs
import errno
import gzip
import io
import lzma
import os
import socket
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.wsgi import TEXT, Environ, hello, pattern

from halfsync.wsgi.file_wrapper import FileWrapper

FILE_BYTES = 200_000


def sending(make: Callable[[], Any], headers: Iterable[tuple[str, str]] = ()) -> Any:
    """Return an application that sends a file, made for each request, through the server's wrapper."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [*TEXT, *headers])
        return environ["wsgi.file_wrapper"](make())

    return app


class Told:
    """A file that reads correctly, but whose attributes are the given ones; an exception is raised."""

    def __init__(self, path: Path, **told: Any) -> None:
        self._file = path.open("rb")
        self._told = told

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def tell(self) -> Any:
        return self._say("tell", self._file.tell)

    def fileno(self) -> Any:
        return self._say("fileno", self._file.fileno)

    def close(self) -> None:
        self._file.close()

    def _say(self, name: str, otherwise: Any) -> Any:
        value = self._told.get(name, otherwise)
        if isinstance(value, BaseException):
            raise value
        return value() if callable(value) else value


class Upper(io.BufferedReader):
    """A real file whose read() changes what it has read."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size).upper()


class UpperRaw(io.FileIO):
    """A real raw file whose reading changes what it has read."""

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer)).upper()
        buffer[: len(data)] = data
        return len(data)


class Limited:
    """A real file that reads as one that is shorter."""

    def __init__(self, path: Path, most: int) -> None:
        self._file, self._left = path.open("rb"), most
        self.fileno, self.tell, self.close = self._file.fileno, self._file.tell, self._file.close

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def overridden(path: Path, **attributes: Any) -> io.BufferedReader:
    """Return a real file, some of whose methods are set on it."""
    file = path.open("rb")
    for name, value in attributes.items():
        setattr(file, name, value)
    return file


def unflushed(path: Path) -> Any:
    """Return a file open for both, with a change at its start that is not on disk yet."""
    file = path.open("r+b")
    file.read(10)
    file.seek(0)
    file.write(b"CHANGED")
    file.seek(3)
    return file


def opened(path: str) -> Any:
    """Return a real file."""
    return Path(path).open("rb")


def compressed(path: Path, kind: Any) -> Any:
    """Return a file that decompresses, with the module's own open: its descriptor is that of the compressed one."""
    path.write_bytes(kind.compress(path.read_bytes()))
    return kind.open(path, "rb")


def member(path: Path, how: int) -> Any:
    """Return a file in an archive."""
    data = path.read_bytes()
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("member", data)
    return zipfile.ZipFile(path).open("member")


def moved(path: Path) -> Any:
    """Return a file whose descriptor something else has moved, after a part of it was read ahead."""
    file = path.open("rb")
    file.read(10)
    os.lseek(file.fileno(), 100_000, os.SEEK_SET)
    return file


def piped(path: Path) -> Any:
    """Return a pipe's reading end, with all that it will ever hold in it."""
    reading, writing = os.pipe()
    os.write(writing, path.read_bytes()[:50_000])
    os.close(writing)
    return os.fdopen(reading, "rb")


def connected(path: Path) -> Any:
    """Return a socket's file, with all that it will ever hold in it."""
    ours, others = socket.socketpair()
    others.sendall(path.read_bytes()[:50_000])
    others.close()
    file = ours.makefile("rb")
    ours.close()
    return file


def written(file: Any, path: Path, at: int = 0) -> Any:
    """Write a file's content through the file object that is read later, and return that."""
    file.write(path.read_bytes())
    file.seek(at)
    return file


def with_read(path: Path, read: Any) -> Any:
    """Return a temporary file whose `read` is set."""
    file = written(tempfile.NamedTemporaryFile(), path)  # noqa: SIM115 - the server closes it
    file.read = read
    return file


ODD = [
    -1,
    -(1 << 62),
    -(1 << 70),
    0.0,
    1.5,
    -3.0,
    FILE_BYTES + 1,
    1 << 62,
    1 << 70,
    None,
    "0",
    b"0",
    True,
    [0],
    5,
]
RAISED = [OSError("odd"), ValueError("odd"), RuntimeError("odd"), OverflowError("odd"), LookupError("odd")]
DESCRIPTORS = [*[number for number in ODD if number != 5], 1 << 20, 0, 3.7]
FILES: dict[str, Any] = {
    **{f"tell() returns {odd!r}": lambda path, odd=odd: Told(path, tell=odd) for odd in ODD},
    **{f"tell() raises {error!r}": lambda path, error=error: Told(path, tell=error) for error in RAISED},
    **{f"fileno() returns {odd!r}": lambda path, odd=odd: Told(path, fileno=odd) for odd in DESCRIPTORS},
    **{f"fileno() raises {error!r}": lambda path, error=error: Told(path, fileno=error) for error in RAISED},
    "tell() is set": lambda path: overridden(path, tell=lambda: 7),
    "fileno() is set": lambda path: overridden(path, fileno=lambda: 0),
    "read() is set": lambda path: overridden(path, read=io.BytesIO(b"another").read),
    "read() changes": Upper,
    "the raw file changes": lambda path: io.BufferedReader(UpperRaw(path)),
    "read() ends early": lambda path: Limited(path, 1000),
    **{
        f"decompressed by {kind.__name__}": lambda path, kind=kind: compressed(path, kind)
        for kind in (gzip, bz2, lzma)
    },
    "decompressed and buffered": lambda path: io.BufferedReader(compressed(path, gzip)),
    "a member that is stored": lambda path: member(path, zipfile.ZIP_STORED),
    "a member that is compressed": lambda path: member(path, zipfile.ZIP_DEFLATED),
    "moved behind its back": moved,
    "a pipe": piped,
    "a socket": connected,
    "recoded": lambda path: codecs.EncodedFile(path.open("rb"), "utf-8", "latin-1"),
    "a device": lambda _: opened("/dev/null"),
    "two directions": lambda path: io.BufferedRWPair(io.FileIO(path), io.FileIO(path, "a")),
    "a temporary file": lambda path: written(tempfile.TemporaryFile(), path),  # noqa: SIM115
    "a named temporary file": lambda path: written(tempfile.NamedTemporaryFile(), path, 70_000),  # noqa: SIM115
    "a spooled file in memory": lambda path: written(tempfile.SpooledTemporaryFile(1 << 30), path),  # noqa: SIM115
    "a spooled file on disk": lambda path: written(tempfile.SpooledTemporaryFile(1), path, 70_000),  # noqa: SIM115
    "a temporary file whose read() is set": lambda path: with_read(path, io.BytesIO(b"another").read),
    "unbuffered": io.FileIO,
    "not flushed": unflushed,
    "a pseudo file without a size": lambda _: opened("/proc/self/limits"),
    "a pseudo file without a size, unbuffered": lambda _: io.FileIO("/proc/self/limits"),
    "another pseudo file": lambda _: opened("/proc/version"),
    "a pseudo file with too large a size": lambda _: opened("/sys/kernel/mm/transparent_hugepage/enabled"),
}


def read_whole(file: Any) -> bytes:
    """Read a file as PEP 3333 has a server read it that knows nothing of descriptors."""
    parts = []
    while part := file.read(8192):
        parts.append(part)
    file.close()
    return b"".join(parts)


@pytest.mark.parametrize("name", FILES)
def test_what_is_sent_is_what_read_returns(serve: Serve, tmp_path: Path, name: str) -> None:
    def make(folder: str) -> Any:
        path = tmp_path / folder
        path.write_bytes(pattern(FILE_BYTES))
        return FILES[name](path)

    try:
        expected = read_whole(make("expected"))
    except FileNotFoundError as error:
        pytest.skip(f"not on this system: {error.filename}")

    def app(environ: Environ, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        return sending(lambda: make("sent"))(environ, start_response)

    with serve(app) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build() + build("/next"))
            response = connection.response()
            assert (response.status, response.body) == (200, expected)
            assert connection.response().body == b"hello, you"


class Unreadable(Told):
    """A file that cannot be read, though its descriptor could."""

    def read(self, size: int = -1) -> bytes:
        raise OSError(errno.EIO, "on purpose")


@pytest.mark.parametrize("length", [None, FILE_BYTES])
@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.open("ab"),
        lambda path: path.open("ab", buffering=0),
        lambda path: path.open("r", encoding="latin-1"),
        Unreadable,
        lambda _: object(),
    ],
    ids=["write-only", "write-only and unbuffered", "text", "read() raises", "no file at all"],
)
def test_an_unreadable_file_is_answered_500(
    serve: Serve, tmp_path: Path, make: Any, length: int | None
) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE_BYTES))
    headers = [] if length is None else [("Content-Length", str(length))]
    with serve(sending(lambda: make(path), headers)) as server:
        response = fetch(server.address)
        assert response.status == 500
        assert response.body == b"500 Internal Server Error\n"


def test_a_wrapper_of_the_applications_is_iterated(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE_BYTES))

    class Reversed(FileWrapper):
        def __next__(self) -> bytes:
            return super().__next__()[::-1]

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [*TEXT])
        return Reversed(path.open("rb"), FILE_BYTES)

    with serve(app) as server:
        assert fetch(server.address).body == pattern(FILE_BYTES)[::-1]


@pytest.mark.parametrize(
    ("block", "expected"), [(0, b""), (-1, pattern(FILE_BYTES)), (7, pattern(FILE_BYTES))]
)
def test_a_block_of_any_size_is_what_read_is_asked_for(
    serve: Serve, tmp_path: Path, block: int, expected: bytes
) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE_BYTES))

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [*TEXT])
        return environ["wsgi.file_wrapper"](path.open("rb"), block)

    with serve(app) as server:
        assert fetch(server.address).body == expected


def test_a_file_that_was_closed_is_answered_500(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE_BYTES))

    def app(environ: Environ, start_response: StartResponse) -> Any:
        file = path.open("rb")
        file.raw.close()
        start_response("200 OK", [*TEXT])
        return environ["wsgi.file_wrapper"](file)

    with serve(app) as server:
        assert fetch(server.address).status == 500


@pytest.mark.parametrize("kind", ["plain", "unbuffered", "temporary", "named", "both ways"])
def test_a_plain_file_is_not_read(serve: Serve, tmp_path: Path, kind: str) -> None:
    """Its descriptor is what is sent: the wrapper and the application's thread do not touch its bytes."""
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE_BYTES))
    make: dict[str, Callable[[], Any]] = {
        "plain": lambda: path.open("rb"),
        "unbuffered": lambda: path.open("rb", buffering=0),
        "temporary": lambda: written(tempfile.TemporaryFile(), path),  # noqa: SIM115
        "named": lambda: written(tempfile.NamedTemporaryFile(), path),  # noqa: SIM115
        "both ways": lambda: path.open("r+b"),
    }
    with serve(sending(make[kind])) as server:
        response = fetch(server.address)
        assert (response.one("Content-Length"), response.body) == (str(FILE_BYTES), pattern(FILE_BYTES))


@pytest.mark.parametrize("change", [-1000, 1000])
def test_a_file_that_changes_its_size_is_sent_as_it_is_by_then(
    serve: Serve, tmp_path: Path, change: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE_BYTES))

    def make() -> Any:
        file = path.open("rb")
        file.read(10)
        with path.open("r+b") as other:
            other.truncate(FILE_BYTES + change)
        return file

    with serve(sending(make)) as server:
        expected = (pattern(FILE_BYTES) + bytes(1000))[10 : FILE_BYTES + change]
        assert fetch(server.address).body == expected


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_range_is_sent_without_reading_what_is_before_it(
    serve: Serve, tmp_path: Path, wrapped: bool
) -> None:
    """As werkzeug sends one: it asks the wrapper to seek."""
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE_BYTES))

    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    def app(environ: Environ, start_response: StartResponse) -> Any:
        file: Any = Counting(path.read_bytes()) if wrapped else path.open("rb")
        wrapper = environ["wsgi.file_wrapper"](file, 100)
        assert wrapper.seekable()
        assert wrapper.seek(FILE_BYTES - 10) == wrapper.tell() == FILE_BYTES - 10
        start_response("200 OK", [*TEXT])
        data = b"".join(wrapper)
        assert not wrapped or file.taken == 10
        return [data]

    with serve(app) as server:
        assert fetch(server.address).body == pattern(FILE_BYTES)[-10:]
