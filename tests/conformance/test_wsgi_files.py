"""PEP 3333, wsgi.file_wrapper: real files, from their position, and any other object with read()."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build, fetch
from tests.conformance.conftest import Wrap
from tests.conftest import Serve
from tests.sharing import FORK
from tests.wsgi import TEXT, Environ, hello, pattern

FILE_BYTES = 200_000


class Opened(io.BufferedReader):
    """A real file, open at its start, that reports when it is closed, in any process."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.ended = FORK.Event()

    def close(self) -> None:
        super().close()
        self.ended.set()


class InMemory(io.BytesIO):
    """An object that reads like a file and has no descriptor; it reports when it is closed, in any process."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.ended = FORK.Event()

    def close(self) -> None:
        super().close()
        self.ended.set()


class OnlyRead:
    """The least that a file is: something with read()."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._file.read(size)


def sending(file: Any, headers: Iterable[tuple[str, str]] = (), *block: int) -> Any:
    """Return an application that sends a file through the server's wrapper."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [*TEXT, *headers])
        return environ["wsgi.file_wrapper"](file, *block)

    return app


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Opened]:
    """Return a real file, open at its start."""
    path = tmp_path / "file"
    path.write_bytes(pattern(FILE_BYTES))
    with Opened(path) as opened:
        yield opened


@pytest.mark.parametrize("offset", [0, 1, 70_000, FILE_BYTES - 1, FILE_BYTES])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_file_is_sent_from_its_position(
    serve: Serve, wrap: Wrap, file: Opened, offset: int, version: str
) -> None:
    file.seek(offset)
    with serve(wrap(sending(file))) as server:
        response = fetch(server.address, version=version)
        assert (response.status, response.body) == (200, pattern(FILE_BYTES)[offset:])
    assert file.ended.is_set()


def test_file_that_was_read_is_sent_from_the_readers_position(serve: Serve, file: Opened) -> None:
    # A buffered file has read ahead of what was taken from it: its position counts, not the descriptor's.
    assert file.read(10) == pattern(FILE_BYTES)[:10]
    with serve(sending(file)) as server:
        assert fetch(server.address).body == pattern(FILE_BYTES)[10:]


@pytest.mark.parametrize("length", [0, 1, 1000, 65_536, FILE_BYTES - 5])
def test_content_length_bounds_the_file(serve: Serve, wrap: Wrap, file: Opened, length: int) -> None:
    file.seek(5)

    def app(environ: Environ, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        return sending(file, [("Content-Length", str(length))])(environ, start_response)

    with serve(wrap(app)) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.response().body == pattern(FILE_BYTES)[5 : 5 + length]
        if length == FILE_BYTES - 5:
            connection.send(build("/next"))
            assert connection.response().body == b"hello, you"


def test_file_for_head_is_closed_and_not_sent(serve: Serve, wrap: Wrap, file: Opened) -> None:
    app = sending(file, [("Content-Length", str(FILE_BYTES))])
    with serve(wrap(app)) as server, Connection(server.address) as connection:
        connection.send(build(method="HEAD", fields=[("Connection", "close")]))
        assert connection.response("HEAD").one("Content-Length") == str(FILE_BYTES)
        connection.closed()
    assert file.ended.is_set()


@pytest.mark.parametrize("size", [0, 1, 8192, 65_537, 300_000])
@pytest.mark.parametrize("block", [(), (1000,), (1 << 20,)])
@pytest.mark.parametrize("make", [InMemory, OnlyRead])
def test_file_without_a_descriptor_is_read(
    serve: Serve, wrap: Wrap, size: int, block: tuple[int, ...], make: Any
) -> None:
    source = make(pattern(size))
    with serve(wrap(sending(source, (), *block))) as server:
        assert fetch(server.address).body == pattern(size)
    assert not isinstance(source, InMemory) or source.ended.is_set()


def test_wrapper_can_be_iterated_by_a_middleware(serve: Serve, wrap: Wrap, file: Opened) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        wrapper = sending(file, (), 7000)(environ, start_response)
        parts = [part.swapcase() for part in wrapper]
        wrapper.close()
        assert max(map(len, parts)) <= 7000
        return parts

    with serve(wrap(app)) as server:
        assert fetch(server.address).body == pattern(FILE_BYTES).swapcase()
    assert file.ended.is_set()
