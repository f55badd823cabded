"""PEP 3333: once the application has returned its whole response, none of its later calls sends anything."""

import io
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client import Connection, CutError, build
from tests.conftest import Serve
from tests.sharing import FORK, Notes
from tests.wsgi import TEXT, Environ, hello, wait

LATE = b"LATE-" * 20


class OnPurposeError(Exception):
    """What an application below raises on purpose."""


def try_all(start_response: Any, write: Callable[[bytes], object]) -> Iterator[str]:
    """Call everything that could send, and name what did not raise."""

    def start_over() -> None:
        try:
            raise OnPurposeError("late")
        except OnPurposeError:
            start_response("200 LATE", [("X-Late", "a")], sys.exc_info())(LATE)

    attempts: dict[str, Callable[[], object]] = {
        "write": lambda: write(LATE),
        "write of nothing": lambda: write(b""),
        "start_response": lambda: start_response("200 LATE", [("X-Late", "a")])(LATE),
        "start_response with exc_info": start_over,
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except Exception:  # noqa: BLE001 - whatever it is, the client must notice nothing
            continue
        yield name


class Meddling:
    """A response whose close() tries to send more."""

    def __init__(self, parts: Iterable[bytes], meddle: Callable[[], object]) -> None:
        self._parts = iter(parts)
        self._meddle = meddle

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    def close(self) -> None:
        self._meddle()


class MeddlingFile(io.BufferedReader):
    """A real file whose close() tries to send more."""

    def __init__(self, path: Path, meddle: Callable[[], object]) -> None:
        super().__init__(io.FileIO(path))
        self._meddle = meddle

    def close(self) -> None:
        self._meddle()
        super().close()


def failing() -> Iterator[bytes]:
    yield b""
    raise OnPurposeError("on purpose")


def generator(parts: Iterable[bytes], meddle: Callable[[], object]) -> Iterator[bytes]:
    try:
        yield from parts
    finally:
        meddle()


# What is asked and answered: method, the application's Content-Length, how its result is made, status and body.
ENDS: dict[str, tuple[str, int | None, Callable[..., Any], int, bytes]] = {
    "chunked": ("GET", None, lambda meddle: Meddling([b"hel", b"lo"], meddle), 200, b"hello"),
    "empty": ("GET", None, lambda meddle: Meddling([], meddle), 200, b""),
    "of known length": ("GET", 5, lambda meddle: Meddling([b"hello"], meddle), 200, b"hello"),
    "of more than its length": ("GET", 5, lambda meddle: Meddling([b"hello, you"], meddle), 200, b"hello"),
    "head": ("HEAD", 5, lambda meddle: Meddling([b"hello"], meddle), 200, b""),
    "head by a generator": ("HEAD", None, lambda meddle: generator([b"hel", b"lo"], meddle), 200, b""),
    "failed": ("GET", None, lambda meddle: Meddling(failing(), meddle), 500, b"500 Internal Server Error\n"),
    "failed head": ("HEAD", 5, lambda meddle: Meddling(failing(), meddle), 500, b""),
}


@pytest.mark.parametrize("name", ENDS)
def test_close_can_send_nothing(serve: Serve, name: str) -> None:
    method, length, make, status, body = ENDS[name]
    sent = Notes()

    def app(environ: Environ, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        headers = [*TEXT, *([("Content-Length", str(length))] if length is not None else [])]
        write = start_response("200 OK", headers)
        return make(lambda: sent.extend(try_all(start_response, write)))

    with serve(app) as server, Connection(server.address) as connection:
        for _ in range(3):
            connection.send(build(method=method) + build("/next"))
            response = connection.response(method)
            assert (response.status, response.body) == (status, body)
            assert connection.response().body == b"hello, you", "nothing came in between"
    assert sent.read() == []


def test_close_can_send_nothing_to_1_0(serve: Serve) -> None:
    def app(environ: Environ, start_response: Any) -> Any:
        write = start_response("200 OK", [*TEXT])
        return Meddling([b"hel", b"lo"], lambda: list(try_all(start_response, write)))

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build(version="HTTP/1.0"))
        assert connection.response().body == b"hello"


@pytest.mark.parametrize("written", [(), (b"first, ",)])
def test_closing_a_file_can_send_nothing(serve: Serve, tmp_path: Path, written: tuple[bytes, ...]) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"file" * 50_000)

    def app(environ: Environ, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            return hello(environ, start_response)
        write = start_response("200 OK", [*TEXT])
        for part in written:
            write(part)
        file = MeddlingFile(path, lambda: list(try_all(start_response, write)))
        return environ["wsgi.file_wrapper"](file)

    with serve(app) as server, Connection(server.address) as connection:
        for _ in range(3):
            connection.send(build() + build("/next"))
            assert connection.response().body == b"".join(written) + b"file" * 50_000
            assert connection.response().body == b"hello, you"


def test_a_failed_response_cannot_be_completed_by_close(serve: Serve) -> None:
    def parts() -> Iterator[bytes]:
        yield b"hel"
        raise OnPurposeError("on purpose")

    def app(environ: Environ, start_response: Any) -> Any:
        write = start_response("200 OK", [*TEXT, ("Content-Length", "5")])
        return Meddling(parts(), lambda: write(b"lo"))

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build())
        with pytest.raises(CutError) as cut:
            connection.response()
        assert cut.value.received == b"hel"


@pytest.mark.parametrize("where", ["same thread", "other thread", "finalizer"])
def test_objects_of_an_earlier_request_can_send_nothing(serve: Serve, where: str) -> None:
    sent = Notes()
    kept: list[Any] = []

    class Finalized:
        def __init__(self, meddle: Callable[[], object]) -> None:
            self._meddle = meddle

        def __del__(self) -> None:
            self._meddle()

    def app(environ: Environ, start_response: Any) -> Any:
        def meddle() -> None:
            assert earlier
            sent.extend(try_all(*earlier))

        write = start_response("200 OK", [*TEXT])
        earlier = kept.pop() if kept else None
        kept.append((start_response, write))
        if earlier is None:
            return [b"first"]
        if where == "same thread":
            meddle()
        elif where == "other thread":
            other = threading.Thread(target=meddle)
            other.start()
            other.join()
        else:
            finalized: Finalized | None = Finalized(meddle)
            del finalized
        return [b"next"]

    with serve(app, threads=1) as server, Connection(server.address) as connection:
        for number in range(3):
            connection.send(build())
            assert connection.response().body == (b"next" if number else b"first")
    kept.clear()
    assert sent.read() == []


def test_a_thread_that_outlives_the_response_can_send_nothing(serve: Serve) -> None:
    ended = FORK.Event()
    over = FORK.Event()
    sent = Notes()

    def app(environ: Environ, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/next":
            ended.set()
            wait(over)
            return hello(environ, start_response)
        write = start_response("200 OK", [*TEXT])

        def later() -> None:
            wait(ended)
            sent.extend(try_all(start_response, write))
            over.set()

        threading.Thread(target=later).start()
        return [b"hello"]

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.response().body == b"hello"
        connection.send(build("/next"))
        assert connection.response().body == b"hello, you"
    assert sent.read() == []
