"""wsgi.input as a stream of the standard library: its readers get the body, in memory or on disk."""

import csv
import gzip
import hashlib
import io
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build, build_chunked, fetch
from tests.conftest import Serve
from tests.sharing import Notes, open_files
from tests.wsgi import TEXT, Environ, hello, pattern, until

MEMORY, BLOCK, DISK = 1000, 50_000, 400_000  # bytes of a body that is stored there
ROWS = [["one", "2", "drei, \xe4"], ["\u20ac", "", "x"]]


def noise(size: int) -> bytes:
    """Return bytes that do not become fewer when they are compressed."""
    return random.Random(7).randbytes(size)


def archived(size: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("first", noise(size))
        archive.writestr("last", b"found")
    return target.getvalue()


def taped(size: int) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, data in (("first", noise(size)), ("last", b"found")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def table(size: int) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(ROWS * (size // 20))
    return text.getvalue().encode()


def read_zip(body: Any) -> bytes:
    with zipfile.ZipFile(body) as archive:
        assert archive.testzip() is None
        return archive.read("last")


def read_tar(body: Any) -> bytes:
    with tarfile.open(fileobj=body) as archive:
        member = archive.extractfile("last")
        assert member is not None
        return member.read()


def read_csv(body: Any) -> bytes:
    text = io.TextIOWrapper(body, encoding="utf-8", newline="")
    rows = list(csv.reader(text))
    assert rows == ROWS * (len(rows) // 2)
    assert rows
    return b"found"


def read_text(body: Any) -> bytes:
    with io.TextIOWrapper(body, encoding="latin-1", newline="") as text:
        first = text.readline()
        text.seek(0)
        whole = text.read()
    assert whole.startswith(first)
    assert body.closed
    return hashlib.md5(whole.encode("latin-1")).digest()


def copied(body: Any) -> bytes:
    target = io.BytesIO()
    shutil.copyfileobj(body, target)
    return hashlib.md5(target.getvalue()).digest()


def read_buffered(body: Any) -> bytes:
    return hashlib.md5(io.BufferedReader(body).read()).digest()


def reread(body: Any) -> bytes:
    """Read all of it three times, each in its own way."""
    first = body.read()
    assert body.tell() == len(first) == body.seek(0, 2)
    body.seek(0)
    assert b"".join(body) == first
    body.seek(0)
    buffer = bytearray(len(first) + 1)
    assert body.readinto(buffer) == len(first)
    assert buffer[:-1] == first
    return hashlib.md5(first).digest()


def digest(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


READERS: dict[str, tuple[Callable[[int], bytes], Callable[[Any], bytes], Callable[[bytes], bytes]]] = {
    "zipfile": (archived, read_zip, lambda _: b"found"),
    "tarfile": (taped, read_tar, lambda _: b"found"),
    "csv": (table, read_csv, lambda _: b"found"),
    "json": (
        lambda size: json.dumps("x" * size).encode(),
        lambda body: json.load(body).encode(),
        lambda data: data[1:-1],
    ),
    "gzip": (
        lambda size: gzip.compress(noise(size)),
        lambda body: digest(gzip.GzipFile(fileobj=body).read()),
        lambda data: digest(gzip.decompress(data)),
    ),
    "TextIOWrapper": (pattern, read_text, digest),
    "copyfileobj": (pattern, copied, digest),
    "BufferedReader": (pattern, read_buffered, digest),
    "again and again": (pattern, reread, digest),
}


@pytest.mark.parametrize("size", [MEMORY, BLOCK, DISK])
@pytest.mark.parametrize("name", READERS)
def test_the_standard_library_reads_it(serve: Serve, name: str, size: int) -> None:
    make, read, expected = READERS[name]

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        answer = read(environ["wsgi.input"])
        start_response("200 OK", [*TEXT])
        return [answer]

    data = make(size)
    with serve(app) as server, Connection(server.address) as connection:
        for request in (build(method="POST", body=data), build_chunked([data[:100], data[100:]])):
            connection.send(request)
            response = connection.response()
            assert (response.status, response.body) == (200, expected(data))


@pytest.mark.parametrize("body", [None, b""])
def test_a_request_without_a_body_has_an_empty_stream_of_its_own(serve: Serve, body: bytes | None) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        stream: Any = environ["wsgi.input"]
        assert issubclass(type(stream), io.BufferedIOBase)
        assert (stream.closed, stream.tell(), stream.read(), list(stream)) == (False, 0, b"", [])
        stream.seek(3)
        with io.TextIOWrapper(stream) as text:
            assert text.read() == ""
        assert stream.closed
        start_response("200 OK", [*TEXT])
        return [b"fine"]

    with serve(app) as server, Connection(server.address) as connection:
        for _ in range(3):  # what one request does to it no other notices
            connection.send(build(method="POST", body=body))
            assert connection.response().body == b"fine"


@pytest.mark.parametrize("size", [0, MEMORY, BLOCK, DISK])
def test_it_is_closed_with_its_request(serve: Serve, size: int, tmp_path: Any) -> None:
    """An application that keeps it, or text over it, finds a closed file, and keeps no file open."""
    kept: list[Any] = []
    seen = Notes()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        if environ["PATH_INFO"] == "/look":
            if kept:
                stream, text = kept
                failed = []
                for ask in (stream.read, stream.readline, lambda: next(stream), stream.tell, text.read):
                    try:
                        ask()
                    except ValueError as error:
                        failed.append(str(error))
                seen.append([stream.closed, text.closed, len(failed), "the request has ended" in failed[0]])
                text.close()
                del stream, text
                kept.clear()
            return hello(environ, start_response)
        stream = environ["wsgi.input"]
        kept[:] = [stream, io.TextIOWrapper(stream, encoding="latin-1")]
        stream.readline()
        return hello(environ, start_response)

    with serve(app, temp_dir=str(tmp_path)) as server, Connection(server.address) as connection:
        connection.send(build(method="POST", body=pattern(size)))
        assert connection.response().status == 200
        until(lambda: open_files(tmp_path) == 0)
        connection.send(build("/look"))
        assert connection.response().status == 200
    assert seen.read() == [[True, True, 5, True]]


def test_it_is_open_while_the_response_is_made(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [*TEXT])
        return iter(lambda: environ["wsgi.input"].read1(1000), b"")

    with serve(app) as server:
        assert fetch(server.address, method="POST", body=pattern(DISK)).body == pattern(DISK)
