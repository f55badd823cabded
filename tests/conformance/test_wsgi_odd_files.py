"""wsgi.file_wrapper over files that are not what they say: what is sent is what read() returns (PEP 3333)."""

import errno
import gzip
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.wsgi import TEXT, Environ, hello, pattern

from halfsync.wsgi.body import FileWrapper

FILE_BYTES = 200_000


def sending(make: Callable[[], Any], headers: Iterable[tuple[str, str]] = ()) -> Any:
    """Return an application that sends a file, made for each request, through the server's wrapper."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [*TEXT, *headers])
        return environ["wsgi.file_wrapper"](make())

    return app


class Told:
    """A file that reads as it should, and tells of itself what it is given; an exception is raised."""

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


def compressed(path: Path) -> gzip.GzipFile:
    """Return a file that decompresses: its descriptor is that of the compressed one."""
    path.write_bytes(gzip.compress(path.read_bytes()))
    return gzip.GzipFile(path)


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
    "decompressed": compressed,
    "not flushed": unflushed,
    "a pseudo file without a size": lambda _: opened("/proc/self/limits"),
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
def test_what_cannot_be_read_is_no_promise(
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
