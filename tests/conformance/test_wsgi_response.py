"""PEP 3333, the response's side: framing, streaming, write() and close() on a live server."""

import http.client
from collections.abc import Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests import tls
from tests.client import Connection, Response, build, fetch
from tests.conformance.conftest import Wrap
from tests.conftest import Serve
from tests.sharing import FORK, Logged
from tests.wsgi import TEXT, Body, Environ, hello, pattern, wait


def answering(body: Any, status: str = "200 OK", headers: Iterable[tuple[str, str]] = TEXT) -> Any:
    """Return an application that gives this body; a callable makes a new one for each request."""

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response(status, list(headers))
        return body() if callable(body) else body

    return app


# --- framing --------------------------------------------------------------------------------------

BODIES: dict[str, Any] = {
    "list of one": [b"hello"],
    "tuple of one": (b"hello",),
    "list of many": [b"he", b"", b"l", b"lo", b""],
    "iterator": lambda: iter([b"hel", b"lo"]),
    "generator": lambda: (bytes([byte]) for byte in b"hello"),
    "generator with empty parts": lambda: (part for part in (b"", b"", b"hel", b"", b"lo", b"")),
    "custom iterable": lambda: Body([b"hello"]),
}
EMPTY_BODIES: dict[str, Any] = {
    "list": [],
    "tuple": (),
    "list of empty": [b""],
    "list of many empty": [b"", b"", b""],
    "iterator": lambda: iter([]),
    "generator": lambda: (part for part in [b"x"] if not part),
}


@pytest.mark.parametrize("name", BODIES)
def test_body_without_a_length_is_framed(serve: Serve, wrap: Wrap, name: str) -> None:
    with serve(wrap(answering(BODIES[name]))) as server, Connection(server.address) as connection:
        for _ in range(2):  # the second proves that the first ended as announced
            connection.send(build())
            response = connection.response()
            assert (response.status, response.body) == (200, b"hello")
            assert response.framing in ("length", "chunked")


@pytest.mark.parametrize("name", EMPTY_BODIES)
def test_empty_body_is_framed(serve: Serve, wrap: Wrap, name: str) -> None:
    with serve(wrap(answering(EMPTY_BODIES[name]))) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build())
            response = connection.response()
            assert (response.status, response.body) == (200, b"")
            assert response.framing in ("length", "chunked")


@pytest.mark.parametrize(("body", "length"), [([b"hello"], "5"), ((b"hello",), "5"), ([], "0"), ([b""], "0")])
def test_length_of_a_list_of_one_is_computed(serve: Serve, body: Any, length: str) -> None:
    with serve(answering(body)) as server:
        assert fetch(server.address).one("Content-Length") == length
        head = fetch(server.address, method="HEAD")
        assert head.one("Content-Length") in (None, length)


def test_unknown_length_is_chunked_on_1_1_and_ended_by_closing_on_1_0(serve: Serve, wrap: Wrap) -> None:
    with serve(wrap(answering(BODIES["generator"]))) as server:
        response = fetch(server.address)
        assert (response.framing, response.body) == ("chunked", b"hello")
        for fields in ([], [("Connection", "keep-alive")]):
            with Connection(server.address) as connection:
                connection.send(build(version="HTTP/1.0", fields=fields))
                response = connection.response()
                assert (response.framing, response.body) == ("close", b"hello")
                assert (response.one("Connection") or "close").lower() == "close"


def test_length_of_the_application_is_kept(serve: Serve, wrap: Wrap) -> None:
    app = answering(lambda: iter([b"he", b"llo"]), headers=[*TEXT, ("Content-Length", "5")])
    with serve(wrap(app)) as server, Connection(server.address) as connection:
        for version in ("HTTP/1.1", "HTTP/1.0"):
            connection.send(build(version=version))
            response = connection.response()
            assert (response.framing, response.body) == ("length", b"hello")


def test_1_0_with_keep_alive_stays_open_only_when_it_says_so(serve: Serve, wrap: Wrap) -> None:
    app = answering([b"hello"], headers=[*TEXT, ("Content-Length", "5")])
    with serve(wrap(app)) as server, Connection(server.address) as connection:
        connection.send(build(version="HTTP/1.0", fields=[("Connection", "keep-alive")]))
        if (connection.response().one("Connection") or "").lower() == "keep-alive":
            connection.send(build(version="HTTP/1.0"))
            assert connection.response().body == b"hello"
        connection.closed()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_connection_is_closed_when_the_client_wants_it(serve: Serve, wrap: Wrap, version: str) -> None:
    with serve(wrap(hello)) as server, Connection(server.address) as connection:
        connection.send(build(version=version, fields=[("Connection", "close")]))
        response = connection.response()
        assert response.body == b"hello, you"
        if version == "HTTP/1.1":
            assert (response.one("Connection") or "").lower() == "close"
        connection.closed()


@pytest.mark.parametrize("name", [*BODIES, "length given"])
def test_head_has_no_body(serve: Serve, wrap: Wrap, name: str) -> None:
    app = answering(BODIES.get(name, [b"hello"]), headers=[*TEXT, ("Content-Length", "5")])
    with serve(wrap(app)) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build(method="HEAD"))
            response = connection.response("HEAD")
            assert (response.status, response.one("Content-Length")) == (200, "5")
        connection.send(build(fields=[("Connection", "close")]))
        assert connection.response().body == b"hello"
        connection.closed()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("body", [[], [b""], [b"no one may see this"], lambda: iter([b"nor", b"this"])])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_204_and_304_have_no_body(serve: Serve, wrap: Wrap, status: str, body: Any, method: str) -> None:
    app = answering(body, status, headers=[("ETag", '"x"')])
    with serve(wrap(app)) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build(method=method))
            response = connection.response(method)
            assert f"{response.status} {response.reason}" == status
            assert response.one("ETag") == '"x"'
            assert response.one("Transfer-Encoding") is None
        connection.send(build(method=method, fields=[("Connection", "close")]))
        connection.response(method)
        connection.closed()


def test_fields_keep_order_repetition_and_latin_1(serve: Serve, wrap: Wrap) -> None:
    fields = [("Set-Cookie", "a=1"), ("X-Name", "caf\xe9"), ("Set-Cookie", "b=2"), *TEXT]
    app = answering([b"hello"], "299 Fine, caf\xe9", fields)
    with serve(wrap(app)) as server:
        response = fetch(server.address)
        assert (response.status, response.reason) == (299, "Fine, caf\xe9")
        kept = [pair for pair in response.fields if pair[0] in ("Set-Cookie", "X-Name", "Content-Type")]
        assert kept == fields
        assert response.one("Date")
        assert response.one("Server")


def test_date_and_server_of_the_application_are_kept(serve: Serve, wrap: Wrap) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    with serve(wrap(answering([b"x"], headers=[*TEXT, ("Date", date), ("Server", "mine")]))) as server:
        response = fetch(server.address)
        assert (response.one("Date"), response.one("Server")) == (date, "mine")


def says(name: str, value: str) -> Any:
    """Return an application with this field, and one to find it by."""
    return answering([b"hello"], headers=[*TEXT, (name, value), ("X-Behind", "here")])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, "timeout=99, max=7") for name in ("Keep-Alive", "keep-alive", "KEEP-ALIVE")],
        ("Keep-Alive", ""),
        *[
            (name, value)
            for name in ("Proxy-Connection", "proxy-CONNECTION")
            for value in ("close", "keep-alive")
        ],
        *[("Connection", value) for value in ("keep-alive", "Keep-Alive", "KEEP-ALIVE\t", " keep-alive", "")],
        ("connection", "keep-alive, Keep-Alive,"),
    ],
)
def test_how_long_the_connection_stays_is_the_servers_to_say(serve: Serve, name: str, value: str) -> None:
    def told(response: Response) -> list[tuple[str, str]]:
        return [
            pair
            for pair in response.fields
            if pair[0].lower() in ("connection", "keep-alive", "proxy-connection")
        ]

    with serve(hello) as server:
        usual = told(fetch(server.address))
    with serve(says(name, value)) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build())
            response = connection.response()
            assert (response.status, response.body, response.one("X-Behind")) == (200, b"hello", "here")
            assert told(response) == usual


@pytest.mark.parametrize(
    "value", ["close", "Close", "CLOSE ", "\tclose", "keep-alive, close", "close,Keep-Alive", ",close"]
)
def test_an_application_may_close_the_connection(serve: Serve, value: str) -> None:
    with serve(says("Connection", value)) as server, Connection(server.address) as connection:
        connection.send(build())
        response = connection.response()
        assert (response.status, response.body, response.one("X-Behind")) == (200, b"hello", "here")
        assert response.all("Connection") == ["close"]
        connection.closed()


def test_pipelined_requests_are_answered_in_order(serve: Serve, wrap: Wrap) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return [environ["PATH_INFO"].encode(), environ["wsgi.input"].read(100)]

    with serve(wrap(app)) as server, Connection(server.address) as connection:
        requests = [build(f"/{number}", method="POST", body=b"x" * number) for number in range(20)]
        connection.send(b"".join(requests))
        for number in range(20):
            assert connection.response().body == b"/%d%s" % (number, b"x" * number)


def test_standard_client_reuses_its_connection(serve: Serve, wrap: Wrap) -> None:
    with serve(wrap(hello)) as server:
        host, port = server.address
        client = (
            http.client.HTTPSConnection("localhost", port, timeout=15, context=tls.authority().client())
            if tls.ON
            else http.client.HTTPConnection(host, port, timeout=15)
        )
        ports = set()
        for method in ("GET", "POST", "HEAD", "GET"):
            client.request(method, "/", body=b"abc" if method == "POST" else None)
            ports.add(client.sock.getsockname())
            response = client.getresponse()
            assert response.read() == (b"" if method == "HEAD" else b"hello, you")
        client.close()
        assert len(ports) == 1


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3_000_000])
@pytest.mark.parametrize("part", [1 << 30, 100_000, 4096])
def test_large_bodies_arrive_whole(serve: Serve, wrap: Wrap, size: int, part: int) -> None:
    data = pattern(size)
    parts = [data[start : start + part] for start in range(0, size, part)]
    with serve(wrap(answering(lambda: iter(parts)))) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build())
            assert connection.response().body == data


# --- streaming and write() ------------------------------------------------------------------------


def test_first_part_arrives_before_the_second_is_made(serve: Serve, wrap: Wrap) -> None:
    received = FORK.Event()

    def parts() -> Iterator[bytes]:
        yield b"first"
        wait(received)
        yield b"second"

    with serve(wrap(answering(parts))) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.framing_of(connection.head(), "GET") == "chunked"
        assert connection.chunk() == b"first"
        received.set()
        assert connection.chunk() == b"second"
        assert connection.chunk() == b""


def test_start_response_may_be_called_in_the_first_step_of_a_generator(serve: Serve, wrap: Wrap) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("299 Late", [("Content-Type", "text/late")])
        yield b"hel"
        yield b"lo"

    with serve(wrap(app)) as server:
        response = fetch(server.address)
        assert (response.status, response.reason, response.body) == (299, "Late", b"hello")
        assert response.one("Content-Type") == "text/late"


def test_write_sends_at_once_and_before_the_iterable(serve: Serve, wrap: Wrap) -> None:
    received = FORK.Event()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", [*TEXT])
        write(b"first, ")
        wait(received)
        write(b"")
        write(b"second, ")
        return [b"third"]

    with serve(wrap(app)) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.framing_of(connection.head(), "GET") == "chunked"
        assert connection.chunk() == b"first, "
        received.set()
        assert connection.chunk() + connection.chunk() == b"second, third"
        assert connection.chunk() == b""
        # With a length of its own, and to HEAD.
    sized = [*TEXT, ("Content-Length", "5")]

    def sized_app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        write = start_response("200 OK", sized)
        write(b"he")
        write(b"llo")
        return []

    with serve(wrap(sized_app)) as server, Connection(server.address) as connection:
        for method in ("GET", "HEAD", "GET"):
            connection.send(build(method=method))
            response = connection.response(method)
            assert response.body == (b"" if method == "HEAD" else b"hello")


def test_requests_run_at_once(serve: Serve, wrap: Wrap) -> None:
    together = FORK.Barrier(4)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        together.wait(timeout=15)  # passes only when all four are in the application
        return hello(environ, start_response)

    with serve(wrap(app), threads=4) as server:
        connections = [Connection(server.address) for _ in range(4)]
        for connection in connections:
            connection.send(build())
        for connection in connections:
            assert connection.response().body == b"hello, you"
            connection.socket.close()


# --- close() --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("parts", [[], [b"a"], [b"a", b"b"]])
def test_close_is_called_once_at_the_end(serve: Serve, wrap: Wrap, method: str, parts: list[bytes]) -> None:
    body = Body(parts)
    with serve(wrap(answering(body))) as server:
        fetch(server.address, method=method)
    assert body.closes == 1


def test_close_is_called_once_when_the_iteration_fails(serve: Serve, wrap: Wrap) -> None:
    body = Body([b"a", b"b"], error=ValueError("on purpose"))
    with serve(wrap(answering(body))) as server, Connection(server.address) as connection:
        connection.send(build())
        connection.cut()
        wait(body.closed)
    assert body.closes == 1


def test_close_that_fails_is_logged_and_affects_no_other_request(
    serve: Serve, wrap: Wrap, logged: Logged
) -> None:
    class Failing(Body):
        def close(self) -> None:
            super().close()
            raise ZeroDivisionError("in close")

    body = Failing([b"hello"])

    def app(environ: Environ, start_response: StartResponse) -> Any:
        start_response("200 OK", [*TEXT, ("Content-Length", "5")])
        return body if environ["PATH_INFO"] == "/failing" else [b"again"]

    with serve(wrap(app), threads=1) as server:
        assert fetch(server.address, "/failing").body == b"hello"
        wait(body.closed)
        assert fetch(server.address, "/").body == b"again", "the only worker goes on"
    assert "ZeroDivisionError" in logged.text


def test_close_is_called_once_if_the_client_disconnects(serve: Serve, wrap: Wrap) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(65_536)

    body = Body(endless())
    with serve(wrap(answering(body))) as server:
        with Connection(server.address) as connection:
            connection.send(build())
            assert connection.head().status == 200
            connection.reset()
        wait(body.closed)
    assert body.closes == 1
