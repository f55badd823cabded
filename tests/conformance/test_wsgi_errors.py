"""PEP 3333, errors of applications: a 500 and a log entry, and none of their bytes on the wire."""

import sys
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.types import StartResponse

import pytest
import tests.wsgi
from tests.client import Connection, CutError, build, fetch
from tests.conformance.conftest import Wrap
from tests.conftest import Serve
from tests.sharing import FORK, Logged, Notes
from tests.wsgi import TEXT, Body, Environ, hello, wait

SECRET = "x-injected"  # is in everything that the server must never send


def answering(status: Any = "200 OK", headers: Any = None, body: Any = (b"hello",)) -> Callable[..., Any]:
    """Return an application that answers with these, right or wrong."""

    def app(environ: Environ, start_response: Any) -> Any:
        start_response(status, [*TEXT] if headers is None else headers)
        return body

    return app


def with_header(name: Any, value: Any) -> Callable[..., Any]:
    """Return an application with a header field of its own."""
    return answering(headers=[*TEXT, (name, value)])


def never_starts(environ: Environ, start_response: StartResponse) -> list[bytes]:
    return [b"hello"]


def never_starts_nor_sends(environ: Environ, start_response: StartResponse) -> list[bytes]:
    return []


def starts_twice(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [*TEXT])
    start_response("200 OK", [*TEXT])
    return [b"hello"]


def starts_too_late(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    yield b"hello"
    start_response("200 OK", [*TEXT])


def writes_text(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [*TEXT])("text, not bytes")
    return []


def starts_without_arguments(environ: Environ, start_response: Any) -> list[bytes]:
    start_response()
    return []


MISUSES: dict[str, Callable[..., Any]] = {
    "start_response never called": never_starts,
    "start_response never called, no body": never_starts_nor_sends,
    "start_response called twice": starts_twice,
    "start_response after the first part": starts_too_late,
    "start_response without arguments": starts_without_arguments,
    "status of bytes": answering(b"200 OK"),
    "status of int": answering(200),
    "status of None": answering(None),
    "status without a code": answering("OK"),
    "status code of two digits": answering("99 Low"),
    "status code of four digits": answering("2000 High"),
    "status empty": answering(""),
    "headers of None": lambda environ, start_response: [start_response("200 OK", None), b""],
    "headers of strings": answering(headers=[SECRET]),
    "header of three": answering(headers=[(SECRET, "a", "b")]),
    "header of one": answering(headers=[(SECRET,)]),
    "header name of bytes": with_header(SECRET.encode(), "a"),
    "header value of bytes": with_header(SECRET, b"a"),
    "header value of int": with_header(SECRET, 5),
    "header value of None": with_header(SECRET, None),
    "header value beyond latin-1": with_header(SECRET, "\u20ac"),
    "header name beyond latin-1": with_header(SECRET + "\u20ac", "a"),
    "header name empty": with_header("", SECRET),
    "header name with a space": with_header(f"{SECRET} ", "a"),
    "header name with a colon": with_header(f"{SECRET}:", "a"),
    "content length not a number": answering(headers=[*TEXT, ("Content-Length", "five"), (SECRET, "a")]),
    "content length negative": answering(headers=[*TEXT, ("Content-Length", "-5"), (SECRET, "a")]),
    "content lengths that differ": answering(
        headers=[*TEXT, ("Content-Length", "5"), ("Content-Length", "6"), (SECRET, "a")]
    ),
    "body of str": answering(body="hello"),
    "body of a list of str": answering(body=["hello"]),
    "body of a list of int": answering(body=[5]),
    "body of None": answering(body=None),
    "body of int": answering(body=5),
    "write of str": writes_text,
    "application of no arguments": lambda: [b"hello"],
}
for character in ("\r", "\n", "\r\n", "\0"):
    evil = f"a{character}{SECRET}: b"
    MISUSES[f"status with {character!r}"] = answering(f"200 {evil}")
    MISUSES[f"header name with {character!r}"] = with_header(evil, "a")
    MISUSES[f"header value with {character!r}"] = with_header("X-A", evil)
HOP_BY_HOP = ("Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade")


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_answered_500_and_logged(serve: Serve, logged: Logged, name: str) -> None:
    with serve(MISUSES[name]) as server:
        response = fetch(server.address)
        assert response.status == 500, response
        assert SECRET.encode() not in response.raw_head.lower() + response.body.lower()
        assert b"hello" not in response.body
        # The worker that met it goes on.
        assert fetch(server.address).status == 500
    # Once the server has ended, everything is logged.
    assert logged.errors


@pytest.mark.parametrize("options", ["upgrade", "close, upgrade", "keep-alive, x-a", "close keep-alive"])
def test_connection_options_beyond_its_life_are_answered_500(
    serve: Serve, logged: Logged, options: str
) -> None:
    with serve(with_header("Connection", options)) as server:
        assert fetch(server.address).status == 500
    assert logged.errors


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_header_is_answered_500(serve: Serve, logged: Logged, name: str) -> None:
    for spelled in (name, name.lower()):
        with serve(with_header(spelled, SECRET)) as server:
            response = fetch(server.address)
            assert response.status == 500
            assert SECRET.encode() not in response.raw_head.lower()
        assert logged.errors
        logged.clear()


class ApplicationError(Exception):
    """Raised by the applications below; its name is looked for in the log."""


ERRORS = [ApplicationError, SystemExit, KeyboardInterrupt]


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("when", ["in the call", "after start_response", "in the iteration", "in iter()"])
def test_exception_before_the_first_byte_is_answered_500_with_its_traceback_logged(
    serve: Serve, logged: Logged, kind: type[BaseException], when: str
) -> None:
    error = kind("on purpose")

    class Uniterable:
        def __iter__(self) -> Iterator[bytes]:
            raise error

    healthy = FORK.Event()
    body = Body([], error=error)

    def app(environ: Environ, start_response: StartResponse) -> Any:
        if healthy.is_set():
            return hello(environ, start_response)
        if when == "in the call":
            raise error
        start_response("200 OK", [*TEXT, (SECRET, "a")])
        if when == "after start_response":
            raise error
        return body if when == "in the iteration" else Uniterable()

    with serve(app, threads=1) as server:
        response = fetch(server.address)
        assert response.status == 500
        assert SECRET.encode() not in response.raw_head.lower()
        assert kind.__name__.encode() not in response.body, "what went wrong inside is not told"
        healthy.set()
        assert fetch(server.address).body == b"hello, you", "the only worker went on"
    assert kind.__name__ in logged.text
    assert "Traceback" in logged.text
    assert (tests.wsgi.__file__ if when == "in the iteration" else __file__) in logged.text
    assert body.closes == (1 if when == "in the iteration" else 0)


def test_exception_for_head_has_no_body(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        raise ApplicationError("on purpose")

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build(method="HEAD", fields=[("Connection", "close")]))
        response = connection.response("HEAD")
        assert (response.status, response.one("Content-Length")) == (500, "26")
        connection.closed()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("length", [None, "100"])
def test_exception_after_the_first_byte_cuts_the_connection(
    serve: Serve, logged: Logged, length: str | None, version: str
) -> None:
    received = FORK.Event()
    body = Body([], error=ApplicationError("on purpose"))

    def parts() -> Iterator[bytes]:
        yield b"first"
        wait(received)
        yield from body

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT, *([("Content-Length", length)] if length else [])])
        return parts()

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build(version=version))
        head = connection.head()
        assert head.status == 200
        assert (head.one("Content-Length"), head.one("Transfer-Encoding") == "chunked") == (
            length,
            length is None and version == "HTTP/1.1",
        )
        received.set()
        rest = connection.cut()
        assert b"first" in rest
        assert b"0\r\n\r\n" not in rest, "an unfinished body must not look finished"
        assert b"500" not in rest, "a second status line would be read as part of the body"
    assert "ApplicationError" in logged.text
    assert "Traceback" in logged.text


def test_exc_info_before_the_first_byte_replaces_the_response(serve: Serve, wrap: Wrap) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT, (SECRET, "a"), ("Content-Length", "1000")])
        yield b""  # starts nothing: the head may only be sent with the first byte of the body
        try:
            raise ApplicationError("on purpose")
        except ApplicationError:
            start_response("503 Replaced", [("Content-Type", "text/x")], sys.exc_info())
        yield b"sorry"

    with serve(wrap(app)) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build())
            response = connection.response()
            assert (response.status, response.reason, response.body) == (503, "Replaced", b"sorry")
            assert response.all("Content-Type") == ["text/x"]
            assert response.one(SECRET) is None


def test_exc_info_after_the_first_byte_raises_the_same_exception(
    serve: Serve, wrap: Wrap, logged: Logged
) -> None:
    received = FORK.Event()
    raised = Notes()
    error = ApplicationError("on purpose")

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT])
        yield b"first"
        wait(received)
        try:
            raise error
        except ApplicationError:
            try:
                start_response("500 Too late", [*TEXT], sys.exc_info())
            except BaseException as caught:
                raised.append(caught is error)
                raise
        yield b"never"

    with serve(wrap(app)) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.head().status == 200
        assert connection.chunk() == b"first"
        received.set()
        assert connection.cut() == b"", "neither more of the body nor its end"
    assert raised.read() == [True]
    assert "ApplicationError" in logged.text


@pytest.mark.parametrize("parts", [[b"hello, you all"], [b"hello,", b" you all"], [b"hello,", b" you", b"!"]])
def test_more_bytes_than_its_content_length_are_cut_off_and_logged(
    serve: Serve, logged: Logged, parts: list[bytes]
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("Content-Length", "10")])
        return parts

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build(fields=[("Connection", "close")]))
        response = connection.response()
        assert (response.status, response.body) == (200, b"hello, you")
        connection.closed()
    assert "Content-Length" in logged.text


@pytest.mark.parametrize("parts", [[], [b"hello"], [b"hel", b"lo"]])
def test_fewer_bytes_than_its_content_length_cut_the_connection(
    serve: Serve, logged: Logged, parts: list[bytes]
) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT, ("Content-Length", "10")])
        return parts

    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build(fields=[("Connection", "close")]))
        if parts:
            with pytest.raises(CutError) as cut:
                connection.response()
            assert cut.value.received == b"hello"
        else:
            # Nothing was sent yet when the lack is found, so a 500 is as good as a cut.
            answer = connection.cut()
            assert answer == b"" or answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 500"))
    assert "Content-Length" in logged.text
