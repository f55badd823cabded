"""Code of the application that runs while the server examines its objects, and calls the server from there.

Such code is a property, or an `__iter__` of a subclass. Whatever it calls, a response has one head, and its framing
holds.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import TEXT, Environ, pattern

CONTENT = pattern(100_000)
Act = Callable[[], object]


class Reading:
    """A file whose attribute `read` does something the first time."""

    def __init__(self, path: Path, act: Act) -> None:
        self.file = path.open("rb")
        self.act: Act | None = act

    @property
    def read(self) -> Callable[..., bytes]:
        act, self.act = self.act, None
        if act is not None:
            act()
        return self.file.read

    def close(self) -> None:
        self.file.close()


class Listing(list[Any]):
    """A list that does something when it is iterated."""

    act: Act | None = None

    def __iter__(self) -> Iterator[Any]:
        act, self.act = self.act, None
        if act is not None:
            act()
        return super().__iter__()


class Pair(tuple[Any, ...]):
    """A header that does something when it is unpacked."""

    act: Act

    def __iter__(self) -> Iterator[Any]:
        self.act()
        return super().__iter__()


def begin_again(start_response: StartResponse, status: str) -> Act:
    """Return what replaces a response by another status."""

    def act() -> None:
        try:
            raise ValueError
        except ValueError:
            start_response(status, [], sys.exc_info())

    return act


def write(start_response: StartResponse) -> Callable[[Environ, Path], Any]:
    begun = start_response("200 OK", TEXT)
    return lambda environ, path: environ["wsgi.file_wrapper"](Reading(path, lambda: begun(b"hello")))


def replace(start_response: StartResponse) -> Callable[[Environ, Path], Any]:
    start_response("200 OK", TEXT)
    return lambda environ, path: environ["wsgi.file_wrapper"](
        Reading(path, begin_again(start_response, "204 No Content"))
    )


def write_while_listed(start_response: StartResponse) -> Callable[[Environ, Path], Any]:
    fields = Listing(TEXT)
    fields.act = lambda: start_response("200 OK", TEXT)(b"hello")
    with suppress(Exception):  # it was called twice
        start_response("200 OK", fields)
    return lambda environ, path: [b"world"]


def begin_while_listed(start_response: StartResponse) -> Callable[[Environ, Path], Any]:
    fields = Listing([*TEXT, ("Content-Length", "5")])
    fields.act = lambda: start_response("204 No Content", [])
    with suppress(Exception):
        start_response("200 OK", fields)
    return lambda environ, path: [b"world"]


def write_while_unpacked(start_response: StartResponse) -> Callable[[Environ, Path], Any]:
    field = Pair(("X-Pair", "1"))
    field.act = lambda: start_response("200 OK", TEXT)(b"hello")
    with suppress(Exception):
        start_response("200 OK", [field, ("Content-Length", "5")])
    return lambda environ, path: [b"world"]


Call = Callable[[StartResponse], Callable[[Environ, Path], Any]]
BODIES: dict[Call, bytes] = {
    write: b"hello" + CONTENT,
    replace: b"",
    write_while_listed: b"helloworld",
    begin_while_listed: b"",
    write_while_unpacked: b"helloworld",
}


@pytest.mark.parametrize("call", BODIES, ids=lambda call: call.__name__)
def test_a_response_has_one_head_whatever_is_called_while_it_is_sent(
    serve: Serve, tmp_path: Path, call: Call
) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)

    def app(environ: Environ, start_response: StartResponse) -> Any:
        if environ["PATH_INFO"] == "/next":
            start_response("200 OK", TEXT)
            return [b"next"]
        return call(start_response)(environ, path)

    with serve(app) as server, Connection(server.address) as client:
        for _ in range(2):
            client.send(build("/"))
            response = client.response()
            assert response.status == (204 if BODIES[call] == b"" else 200)
            assert response.body == BODIES[call]
            client.send(build("/next"))
            assert client.response().body == b"next"
