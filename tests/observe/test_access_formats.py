"""Formats of the access log: each field has its value, and no client can forge one, in any format."""

import base64
import json
import os
import re
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from halfsync.observe.access_format import STYLES, VALUES
from halfsync.settings.access_format import (
    FIELDS,
    PAIR,
    PLAIN,
    REQUEST_FIELD,
    RESPONSE_FIELD,
    VALUE,
    WITHIN,
)
from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import TEXT, App, Environ, hello, until

GUNICORN = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
LOGFMT = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=]*)(?: |$)')
LAST = b"Connection: close\r\n"
MODELS = ["proactor", "thread", "pool", "process"]

Logged = Callable[..., list[str]]


@pytest.fixture
def logged(serve: Serve, tmp_path: Path) -> Logged:
    """Return a function that sends requests one after the other and returns their lines in the log."""
    log = tmp_path / "access.log"

    def send(form: str, *wires: bytes, app: App = hello, **settings: Any) -> list[str]:
        number = 0
        with serve(app, access_log=str(log), log_format=form, **settings) as server:
            for wire in wires:
                with Connection(server.address) as connection:
                    connection.send(wire)
                    number += (
                        len(connection.last_responses()) if LAST in wire else bool(connection.response())
                    )
            until(lambda: log.read_text().count("\n") >= number)
        return log.read_text().splitlines()

    return send


def pairs(line: str) -> dict[str, str]:
    """Return the pairs of a line of logfmt, with their values unquoted."""
    found = LOGFMT.findall(line)
    assert "".join(f"{key}={value} " for key, value in found) == f"{line} ", line
    assert len({key for key, _ in found}) == len(found)
    return {key: json.loads(value) if value.startswith('"') else value for key, value in found}


def test_each_field_has_a_native_value() -> None:
    standing = {"referer", "agent", "host"}  # for fields of the request
    assert {one.name for one in FIELDS} - standing == set(VALUES) - {"", REQUEST_FIELD, RESPONSE_FIELD}
    assert len(set(VALUES.values())) == len(VALUES)
    assert {PLAIN, WITHIN, VALUE, PAIR} == set(STYLES)


def test_gunicorn_s_own_format(logged: Logged) -> None:
    credentials = base64.b64encode(b"ann o:secret:1").decode()
    fields = [("Referer", "http://a/"), ("User-Agent", "test 1.0"), ("Authorization", f"Basic {credentials}")]
    (line,) = logged(GUNICORN, build("/a%20b?c=d", fields=fields))
    found = re.fullmatch(
        r'127\.0\.0\.1 - (\S+) \[([^]]+)\] "GET /a%20b\?c=d HTTP/1\.1" 200 10 "http://a/" "test 1\.0"', line
    )
    assert found, line
    assert found[1] == r"ann\x20o"
    datetime.strptime(found[2], "%d/%b/%Y:%H:%M:%S %z")


def test_the_other_fields_of_gunicorn(logged: Logged) -> None:
    form = (
        "%(m)s %(U)s %(q)s %(H)s %(B)s %(T)s %(M)s %(D)s %(L)s %(p)s %({X-A}i)s %({x-b}i)s %({http_host}e)s"
    )
    (line,) = logged(form, build("/a?b=c?d", method="PUT", body=b"x", fields=[("x-a", "1"), ("X-A", "2")]))
    method, path, query, version, size, seconds, ms, us, decimal, pid, first, missing, host = line.split(" ")
    assert (method, path, query, version, size) == ("PUT", "/a", "b=c?d", "HTTP/1.1", "10")
    assert int(us) <= float(decimal) * 1e6 + 1 <= int(us) + 2
    assert (int(ms), int(seconds)) == (int(us) // 1000, int(us) // 1_000_000)
    assert re.fullmatch(r"\d+\.\d{6}", decimal)
    assert pid == f"<{os.getpid()}>"
    assert (first, missing, host) == ("1", "-", "test.example")


@pytest.mark.parametrize("model", [{"model": model} for model in MODELS], ids=MODELS)
def test_fields_of_the_response(logged: Logged, tmp_path: Path) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response(
            "200 OK", [*TEXT, ("X-User", f"ann {environ['PATH_INFO']}"), ("X-User", "other"), ("X", "")]
        )
        return [b"hello"]

    (tmp_path / "a.txt").write_text("text\r\nX-User: forged\r\n")
    form = '"%({x-user}o)s" "%({content-length}o)s" %({connection}o)s %({x}o)s %({ok}o)s %(s)s'
    lines = logged(
        form,
        build("/1", fields=[("Connection", "close")]),
        build("/2") + build("/3", fields=[("Connection", "close")]),
        build("/files/a.txt", fields=[("Connection", "close")]),
        b"GET / HTTP/1.1\r\n\r\n",
        app=app,
        static={"/files": str(tmp_path)},
    )
    assert lines[:5] == [
        '"ann /1" "5" close - - 200',
        '"ann /2" "5" keep-alive - - 200',
        '"ann /3" "5" close - - 200',
        '"-" "22" close - - 200',
        '"-" "16" close - - 400',
    ]


def test_logfmt_has_a_pair_for_each_value(logged: Logged) -> None:
    (line,) = logged("logfmt", build("/a?b", fields=[("User-Agent", 'a "b" c=d \\ \xe9')]))
    found = pairs(line)
    assert found["request"] == "GET /a?b HTTP/1.1"
    assert (found["path"], found["status"], found["bytes"]) == ("/a", "200", "10")
    assert found["agent"] == 'a "b" c=d \\ \xe9'
    assert (found["remote"], found["pid"]) == ("127.0.0.1", str(os.getpid()))
    assert "referer" not in found
    assert datetime.fromisoformat(found["time"]).tzinfo is not None


def test_a_format_in_braces_makes_json(logged: Logged) -> None:
    form = (
        '{"from": %(h)s, "what": "%(m)s %(U)s", "status": %(s)s, "agent": %(a)s, "p": "%(p)s", "x": "%(q)s"}'
    )
    evil = 'a", "status": 500, "x": "\\'
    first, second = logged(form, build("/%22", fields=[("User-Agent", evil)]), build("/"))
    assert json.loads(first) == {
        "from": "127.0.0.1", "what": "GET /%22", "status": 200, "agent": evil, "p": f"<{os.getpid()}>", "x": "-",
    }  # fmt: skip
    assert json.loads(second)["agent"] is None


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("%(a)s %(s)s", r"a\x20500\x20\x22|=[ 200"),
        ("%(a)s|%(s)s", r"a\x20500\x20\x22\x7c=[|200"),
        ("a=%(a)s s=%(s)s", r"a=a\x20500\x20\x22|\x3d[ s=200"),
        ("[%(a)s] %(s)s", r"[a\x20500\x20\x22|=\x5b] 200"),
        ('"%(a)s" %(s)s', r'"a 500 \x22|=[" 200'),
    ],
)
def test_no_client_can_end_its_field(logged: Logged, form: str, line: str) -> None:
    assert logged(form, build(fields=[("User-Agent", 'a 500 "|=[')])) == [line]


@pytest.mark.parametrize(
    "credentials", ["Basic", "Basic !!", "Basic YW5u", "Bearer YW5uOmI=", "Basic OmI=", "basicYTpi"]
)
def test_credentials_without_a_user_name(logged: Logged, credentials: str) -> None:
    assert logged("%(u)s.", build(fields=[("Authorization", credentials)])) == ["-."]


def test_a_user_name_cannot_forge_a_field(logged: Logged) -> None:
    credentials = base64.b64encode('a\n" \xe9:b'.encode("latin-1")).decode()
    (line,) = logged('"%(u)s" %(s)s', build(fields=[("authorization", f"BASIC  {credentials}")]))
    assert line == r'"a\x0a\x22 \xe9" 200'


def test_an_ipv4_client_of_an_ipv6_socket_is_shown_as_ipv4(
    logged: Logged, serve: Serve, tmp_path: Path
) -> None:
    log = tmp_path / "mapped.log"
    form = "%(remote)s %(remote_port)s"
    with serve(hello, bind="[::]:0", access_log=str(log), log_format=form) as server:
        with Connection(("127.0.0.1", server.address[1])) as connection:
            connection.send(build())
            assert connection.response().status == 200
            port = connection.socket.getsockname()[1]
        until(lambda: log.read_text().endswith("\n"))
    assert log.read_text() == f"127.0.0.1 {port}\n"


def test_a_client_on_a_unix_socket_has_no_address(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(
        hello, bind=f"unix:{tmp_path}/s", access_log=str(log), log_format="%(h)s %(remote_port)s %(s)s"
    ):
        client = socket.socket(socket.AF_UNIX)
        client.connect(f"{tmp_path}/s")
        with Connection(client) as connection:
            connection.send(build())
            assert connection.response().status == 200
        until(lambda: log.read_text().endswith("\n"))
    assert log.read_text() == "- - 200\n"


def test_an_invalid_request_line_has_no_parts(logged: Logged) -> None:
    form = '"%(r)s" %(m)s %(target)s %(U)s %(q)s %(H)s %(s)s'
    lines = logged(
        form,
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a HTTP/1.0\r\n\r\n",
    )
    assert lines == [
        '"GET /a b HTTP/1.1" - - - - - 400',
        '"OPTIONS * HTTP/1.1" OPTIONS * - - HTTP/1.1 200',
        '"GET http://a HTTP/1.0" GET http://a / - HTTP/1.0 200',
    ]


def test_the_longest_lines_are_whole(logged: Logged) -> None:
    """A format with as many texts as there may be, of which each is as long as it can be."""
    form = '{"0": %(r)s' + "".join(f', "{number}": %(a)s' for number in range(1, 40)) + "}"
    wire = build("/" + '"' * 4000, fields=[("User-Agent", "\xff" * 4000)])
    (line,) = logged(form, wire, max_request_line=16_384, max_field=16_384)
    values = json.loads(line)
    assert len(values) == 40
    assert len(set(values.values())) == 2
    assert len(values["1"]) >= 50
    assert len(line) < 20_480


def test_a_field_that_was_handed_on_is_seen_by_the_log_only_if_it_was_sent(logged: Logged) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("X-User", "early")])
        raise ValueError

    (line,) = logged("%({x-user}o)s %({content-type}o)s %(s)s", build(), app=app)
    assert line == r"- text/plain;\x20charset=utf-8 500"
