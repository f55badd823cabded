"""PEP 3333, the request's side: the environ and wsgi.input, seen by applications on a live server."""

import hashlib
import io
import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, Response, build, build_chunked, fetch
from tests.conformance.conftest import Wrap
from tests.conftest import Serve
from tests.sharing import Notes
from tests.wsgi import Environ, pattern


def tell(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with every string of the environ, and with the types of the rest."""
    told = {key: value if isinstance(value, str) else type(value).__name__ for key, value in environ.items()}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


def told_by(response: Response) -> dict[str, str]:
    assert response.status == 200, response.body
    told: dict[str, str] = json.loads(response.body)
    return told


# --- the environ ----------------------------------------------------------------------------------


def test_environ_has_what_the_pep_requires(serve: Serve, wrap: Wrap) -> None:
    with serve(wrap(tell)) as server, Connection(server.address) as connection:
        connection.send(build("/a/b?c=d&e"))
        told = told_by(connection.response())
        client_host, client_port = connection.socket.getsockname()
        assert told["REQUEST_METHOD"] == "GET"
        assert (told["SCRIPT_NAME"], told["PATH_INFO"], told["QUERY_STRING"]) == ("", "/a/b", "c=d&e")
        assert told["SERVER_NAME"]
        assert told["SERVER_PORT"] == str(server.address[1])
        assert told["SERVER_PROTOCOL"] == "HTTP/1.1"
        assert told["SERVER_SOFTWARE"]
        assert (told["REMOTE_ADDR"], told["REMOTE_PORT"]) == (client_host, str(client_port))
        assert told["HTTP_HOST"] == "test.example"
        assert told["wsgi.url_scheme"] == "http"
        assert told["wsgi.version"] == "tuple"
        assert told["wsgi.multithread"] == told["wsgi.multiprocess"] == told["wsgi.run_once"] == "bool"
        assert "CONTENT_TYPE" not in told or told["CONTENT_TYPE"] == ""


def test_environ_flags_and_types(serve: Serve, model: dict[str, Any]) -> None:
    seen = Notes()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        seen.append(type(environ) is dict)
        seen.append({key: value for key, value in environ.items() if type(value) in (bool, tuple)})
        seen.append(callable(environ["wsgi.file_wrapper"]))
        seen.append({type(value) for key, value in environ.items() if "." not in key})
        return tell(environ, start_response)

    with serve(app, threads=2) as server:
        fetch(server.address)
    forks = model["model"] == "process"
    flags = {
        "wsgi.version": (1, 0),
        "wsgi.input_terminated": True,
        "wsgi.multithread": not forks,
        "wsgi.multiprocess": forks,
        "wsgi.run_once": False,
    }
    assert seen.read() == [True, flags, True, {str}]


def test_environ_is_new_for_every_request(serve: Serve, wrap: Wrap) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        answer = tell(environ, start_response)
        environ["LEFT_BEHIND"] = environ["HTTP_LEFT_BEHIND"] = environ["PATH_INFO"] = "x"
        return answer

    with serve(wrap(app), threads=1) as server, Connection(server.address) as connection:
        connection.send(
            build(fields=[("X-First", "1"), ("Content-Type", "text/x")], method="POST", body=b"a")
        )
        assert told_by(connection.response())["HTTP_X_FIRST"] == "1"
        connection.send(build())
        told = told_by(connection.response())
        assert not {"LEFT_BEHIND", "HTTP_LEFT_BEHIND", "HTTP_X_FIRST"} & set(told)
        assert told["PATH_INFO"] == "/"
        assert not told.get("CONTENT_TYPE") and told.get("CONTENT_LENGTH", "0") in ("", "0")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/?", "/", ""),
        ("/a?b?c", "/a", "b?c"),
        ("/caf%C3%A9", "/caf\xc3\xa9", ""),
        ("/%e2%82%ac", "/\xe2\x82\xac", ""),
        ("/%ff", "/\xff", ""),
        ("/a%2Fb%3Fc", "/a/b?c", ""),
        ("/a%20b+c", "/a b+c", ""),
        ("/?q=%C3%A9+%26", "/", "q=%C3%A9+%26"),
        ("//a//b", "//a//b", ""),
        ("/a;b=c:@!$&'()*,", "/a;b=c:@!$&'()*,", ""),
        ("http://test.example/x?y", "/x", "y"),
    ],
)
def test_path_is_decoded_to_latin_1_and_query_is_unchanged(
    serve: Serve, wrap: Wrap, target: str, path: str, query: str
) -> None:
    with serve(wrap(tell)) as server:
        told = told_by(fetch(server.address, target))
        assert (told["PATH_INFO"], told["QUERY_STRING"]) == (path, query)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_method_and_protocol_are_passed_on(serve: Serve, wrap: Wrap, method: str, version: str) -> None:
    with serve(wrap(tell)) as server:
        told = told_by(fetch(server.address, method=method, version=version, body=b""))
        assert (told["REQUEST_METHOD"], told["SERVER_PROTOCOL"]) == (method, version)


def test_repeated_fields_are_joined(serve: Serve, wrap: Wrap) -> None:
    fields = [("X-A", "1"), ("Cookie", "a=1"), ("x-a", "2, 3"), ("cookie", "b=2"), ("X-A", "4")]
    with serve(wrap(tell)) as server:
        told = told_by(fetch(server.address, fields=fields))
        assert told["HTTP_X_A"] == "1, 2, 3, 4"
        assert told["HTTP_COOKIE"] == "a=1; b=2"


def test_names_with_underscores_are_dropped(serve: Serve, wrap: Wrap) -> None:
    # Otherwise a client could set a field that only a proxy in front may set.
    fields = [
        ("X_Real_Ip", "6.6.6.6"),
        ("X-Real-Ip", "10.0.0.1"),
        ("X_Only", "evil"),
        ("Content_Length", "9"),
    ]
    with serve(wrap(tell)) as server:
        told = told_by(fetch(server.address, fields=fields))
        assert told["HTTP_X_REAL_IP"] == "10.0.0.1"
        assert "HTTP_X_ONLY" not in told
        assert told.get("CONTENT_LENGTH", "0") in ("", "0")


def test_content_fields_have_no_http_prefix(serve: Serve, wrap: Wrap) -> None:
    with serve(wrap(tell)) as server:
        told = told_by(
            fetch(server.address, method="POST", fields=[("Content-Type", "text/x; a=b")], body=b"12345")
        )
        assert (told["CONTENT_TYPE"], told["CONTENT_LENGTH"]) == ("text/x; a=b", "5")
        assert "HTTP_CONTENT_TYPE" not in told
        assert "HTTP_CONTENT_LENGTH" not in told


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("plain", "plain"),
        ("  padded \t", "padded"),
        ("a  b\tc", "a  b\tc"),
        ("", ""),
        ("\xe9\xff", "\xe9\xff"),
    ],
)
def test_field_values_are_latin_1_without_outer_space(serve: Serve, wrap: Wrap, sent: str, seen: str) -> None:
    with serve(wrap(tell)) as server:
        assert told_by(fetch(server.address, fields=[("X-Value", sent)]))["HTTP_X_VALUE"] == seen


def test_errors_stream_can_be_written(serve: Serve, wrap: Wrap) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        errors = environ["wsgi.errors"]
        errors.write("a line, not ASCII: \u20ac\n")
        errors.writelines(["two\n", "three\n"])
        errors.flush()
        return tell(environ, start_response)

    with serve(wrap(app)) as server:
        assert fetch(server.address).status == 200


# --- wsgi.input -----------------------------------------------------------------------------------

Reading = Callable[[Any], list[bytes]]


def _read_in_pieces(size: int) -> Reading:
    def read(stream: Any) -> list[bytes]:
        pieces = []
        while piece := stream.read(size):
            pieces.append(piece)
        return [*pieces, stream.read(size)]

    return read


def _read_lines(limit: int) -> Reading:
    def read(stream: Any) -> list[bytes]:
        lines = []
        while line := stream.readline(limit):
            lines.append(line)
        return [*lines, stream.readline(limit)]

    return read


def _read_mixed(stream: Any) -> list[bytes]:
    return [
        stream.read(0),
        stream.readline(),
        stream.read(3),
        stream.readline(2),
        *stream.readlines()[:50],
        stream.read(10),
        stream.readline(),
        *stream.readlines(),
    ]


READINGS: dict[str, Reading] = {
    "read(1000)": _read_in_pieces(1000),
    "read(65536)": _read_in_pieces(65_536),
    "read(more than there is)": _read_in_pieces(10_000_000),
    "readline()": lambda stream: list(iter(stream.readline, b"")),
    "readline(10)": _read_lines(10),
    "readline(100000)": _read_lines(100_000),
    "readlines()": lambda stream: [*stream.readlines(), *stream.readlines()],
    "iteration": lambda stream: [*stream, stream.read(1)],
    "mixed": _read_mixed,
}
# These three are no part of the PEP's text, or the validator refuses them, but frameworks count on them.
UNVALIDATED_READINGS: dict[str, Reading] = {
    "read()": lambda stream: [stream.read(), stream.read()],
    "read(-1)": lambda stream: [stream.read(5), stream.read(-1), stream.read(-1)],
    "read(None)": lambda stream: [stream.read(None), stream.readline(None), *stream.readlines(None)],
}
SIZES = (0, 1, 1000, 65_536, 65_537, 300_000)


@cache
def lines_of(size: int) -> bytes:
    """Return a body of that size in lines of all lengths, some empty, the last without its end."""
    source = random.Random(size)
    body = b""
    while len(body) < size:
        longest = source.choice((0, 5, 80, 3000, 40_000))
        body += bytes(source.choices(b"abcdefgh\r", k=source.randint(0, longest))) + b"\n"
    return body[: size - 1] + b"." if size else b""


def digest(pieces: list[bytes]) -> str:
    """Return a digest that depends on the pieces' borders too."""
    assert all(type(piece) is bytes for piece in pieces)
    return hashlib.sha256(repr(pieces).encode()).hexdigest()


def reading_app(reading: Reading) -> Any:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        answer = digest(reading(environ["wsgi.input"])).encode()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [answer]

    return app


def check_reading(serve: Serve, app: Any, reading: Reading) -> None:
    """Send bodies of all sizes, framed both ways, on one connection; compare with what BytesIO gives."""
    with serve(app) as server, Connection(server.address) as connection:
        for size in SIZES:
            body = lines_of(size)
            expected = digest(reading(io.BytesIO(body))).encode()
            third = size // 3
            chunks = [body[:third], body[third : third + 7], body[third + 7 :]]
            for request in (build(method="POST", body=body), build_chunked(chunks)):
                connection.send(request)
                response = connection.response()
                assert (response.status, response.body) == (200, expected), f"a body of {size} bytes"


@pytest.mark.parametrize("name", READINGS)
def test_input_reads_like_a_file(serve: Serve, wrap: Wrap, name: str) -> None:
    check_reading(serve, wrap(reading_app(READINGS[name])), READINGS[name])


@pytest.mark.parametrize("name", UNVALIDATED_READINGS)
def test_input_reads_like_a_file_without_arguments(serve: Serve, name: str) -> None:
    check_reading(serve, reading_app(UNVALIDATED_READINGS[name]), UNVALIDATED_READINGS[name])


@pytest.mark.parametrize("hint", [1, 50, 5000, 1_000_000])
def test_readlines_with_a_hint_returns_whole_lines(serve: Serve, wrap: Wrap, hint: int) -> None:
    """A server is free to ignore the hint (PEP 3333, input stream note 3), not to lose or break lines."""

    def reading(stream: Any) -> list[bytes]:
        lines = []
        while some := stream.readlines(hint):
            lines += some
        return lines

    check_reading(serve, wrap(reading_app(reading)), reading)


def test_input_that_is_not_read_does_not_become_the_next_request(serve: Serve, wrap: Wrap) -> None:
    evil = build("/smuggled").ljust(100_000, b"x")
    with serve(wrap(tell)) as server, Connection(server.address) as connection:
        for body in (evil[:200], evil):
            connection.send(build("/first", method="POST", body=body))
            assert told_by(connection.response())["PATH_INFO"] == "/first"
            connection.send(build("/second"))
            assert told_by(connection.response())["PATH_INFO"] == "/second"


def test_chunked_body_is_decoded_and_has_its_length_in_the_environ(serve: Serve, wrap: Wrap) -> None:
    """The body is complete before the application runs, so its length is known.

    Some frameworks read no more than CONTENT_LENGTH, and nothing without it.
    """

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        body = environ["wsgi.input"].read(1_000_000)
        start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "")), ("Content-Type", "a/b")])
        return [body]

    chunks = [pattern(1), pattern(100_000), pattern(17)]
    with serve(wrap(app)) as server, Connection(server.address) as connection:
        connection.send(build_chunked(chunks))
        response = connection.response()
        assert response.body == b"".join(chunks)
        assert response.one("X-Length") == "100018"
