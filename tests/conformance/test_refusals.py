"""What a refusal logs, in every model: its reason in the server's log, the request in the access log."""

import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.proxies import line
from tests.sharing import Logged
from tests.wsgi import Gate, hello, until

from halfsync.log import KEYS
from halfsync.runtime import originals
from halfsync.runtime.threads import Thread

MAX_BODY = 100
AT_ONCE = 20  # that are logged, if so many come at once
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CLIENT_FULL = "its client has max_connections_per_client connections"

# What is sent; the status, the reason, and what the log shows of what was received.
REFUSALS: dict[str, tuple[bytes, int, str, str]] = {
    "version": (b"GET / HTTP/2.0\r\n\r\n", 505, "a version that is not HTTP/1", "'GET / HTTP/2.0'"),
    "connect": (b"CONNECT a:1 HTTP/1.1\r\n\r\n", 501, "the method CONNECT", "'CONNECT a:1 HTTP/1.1'"),
    "host": (
        b"GET /x HTTP/1.1\r\nA: b\r\nHost: a b\r\n\r\n",
        400,
        "a Host that is not host[:port]",
        "'GET /x HTTP/1.1', 'Host: a b'",
    ),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "HTTP/1.1 without a Host field", "'GET / HTTP/1.1'"),
    "behind an empty line": (
        b"\r\nGET / HTTP/1.1\r\n\r\n",
        400,
        "HTTP/1.1 without a Host field",
        "'GET / HTTP/1.1'",
    ),
    "not http": (
        b"\x16\x03\x01\x02\n",
        400,
        "a method that is not a token followed by one space",
        r"'\x16\x03\x01\x02'",
    ),
    "expectation": (
        POST + b"Expect: x\r\n\r\n",
        417,
        "an expectation other than 100-continue",
        "'POST /x HTTP/1.1', 'Expect: x'",
    ),
    "coding": (
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        400,
        "a Transfer-Encoding that does not end with one chunked",
        "'POST /x HTTP/1.1'",
    ),
    "length": (
        POST + b"Content-Length: 101\r\n\r\n",
        413,
        "its body is longer than max_body",
        "'POST /x HTTP/1.1'",
    ),
    "chunk": (CHUNKED + b"x\r\n", 400, "a chunk size that is not hex digits", "'POST /x HTTP/1.1'"),
    "fold": (
        b"GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n",
        400,
        "a field line that does not begin with a name and a colon",
        r"'GET / HTTP/1.1', '\t' ...",
    ),
    "forgery": (
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x1b[2J\xe9\r\n\r\n",
        400,
        "a control character in a field value",
        r"'GET / HTTP/1.1', 'A: b\x1b[2J\xe9'",
    ),
    "cookie": (
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: secret\x01\r\n\r\n",
        400,
        "a control character in a field value",
        "'GET / HTTP/1.1', 'Cookie' ...",
    ),
    "authorization": (
        b"GET / HTTP/1.1\r\nHost: a\r\nAUTHORIZATION: secret\x01\r\n\r\n",
        400,
        "a control character in a field value",
        "'GET / HTTP/1.1', 'AUTHORIZATION' ...",
    ),
    "long": (
        b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n\r\n",
        414,
        "a request line that is too long",
        f"'GET /{'a' * 195}' ...",
    ),
}

NO_NAME = "a field line that does not begin with a name and a colon"
CONTROL = "a control character in a field value"
# Lines that may have the value of a secret field; the reason, and what is shown of them.
SECRETS: dict[bytes, tuple[str, str]] = {
    b"Cookie: a=b\r\n secret=1": (NO_NAME, "' ' ..."),
    b"Cookie: a=b\r\n\tsecret: 1": (NO_NAME, r"'\t' ..."),
    b"Cookie: a=b;\r\nsecret=1": (NO_NAME, "'' ..."),
    b'Cookie: a=b;\r\n"secret": 1': (NO_NAME, "'' ..."),
    b"AUTHORIZATION: Digest a=b,\r\nb secret: c": (NO_NAME, "'' ..."),
    b"Authorization Bearer secret": (NO_NAME, "'Authorization' ..."),
    b"Authorization\t: Bearer secret": (NO_NAME, "'Authorization' ..."),
    b"cookie=secret": (NO_NAME, "'cookie' ..."),
    b'"Authorization": Bearer secret': (NO_NAME, "'\"Authorization' ..."),
    b"-H Authorization: Bearer secret": (NO_NAME, "'-H Authorization' ..."),
    b"A: b\rCookie: secret": (CONTROL, r"'A: b\rCookie' ..."),
    b"A: b\x0bCookie: secret": (CONTROL, r"'A: b\x0bCookie' ..."),
    b"Set-Cookie: secret\x01": (CONTROL, "'Set-Cookie' ..."),
    b"Proxy-Authorization: secret\x01": (CONTROL, "'Proxy-Authorization' ..."),
    b"X-Cookies: secret\x01": (CONTROL, "'X-Cookie' ..."),
    b"Cookie: " + b"secret" * 2000: ("a field line that is too long", "'Cookie' ..."),
    # Another field after such a field is shown.
    b"Cookie: a=b\r\nHost: a b": ("a Host that is not host[:port]", "'Host: a b'"),
    b"A: b\r\nc": (NO_NAME, "'c'"),
}


@pytest.fixture
def informed(logged: Logged, caplog: pytest.LogCaptureFixture) -> Iterator[Logged]:
    """Return what the server logs, what it does as usual included."""
    with caplog.at_level(logging.INFO, "halfsync"):
        yield logged


class Echo:
    """A stream that sends back what it receives."""

    def received(self, data: bytes) -> bytes:
        """Return it."""
        return data

    def closed(self) -> None:
        """Do nothing."""


class Waiting(Echo):
    """A stream that waits behind a gate before it does so."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    @classmethod
    def behind(cls, gate: Gate) -> Callable[[], Self]:
        """Return what makes such streams."""
        return lambda: cls(gate)

    def received(self, data: bytes) -> bytes:
        """Return it, once the gate is open."""
        self._gate({"PATH_INFO": "/"}, lambda *_: bytes)
        return data


def closed(reason: str) -> str:
    """Return the log line of a connection that was closed without an answer."""
    return f"INFO halfsync: closed a connection from 127.0.0.1: {reason}"


def text_of(informed: Logged) -> str:
    """Return what was logged, without the ports of clients and the ids of requests."""
    text = re.sub("; request id [0-9a-f]{32}$", "", informed.text, flags=re.MULTILINE)
    return re.sub(r"((?:from|through) [0-9.]+):\d+", r"\1", text)


def told(informed: Logged) -> list[str]:
    """Return the log lines of refusals."""
    return re.findall(r"INFO halfsync: ((?:refused|closed) .*)", text_of(informed))


def send(address: tuple[str, int], wire: bytes) -> bytes:
    """Send bytes on a connection of their own, and return all that comes back."""
    with Connection(address) as connection:
        connection.send(wire)
        return connection.cut()


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
def test_the_log_has_the_client_the_reason_and_the_bytes(serve: Serve, informed: Logged) -> None:
    with serve(hello, max_body=MAX_BODY) as server:
        for wire, status, reason, received in REFUSALS.values():
            informed.clear()
            assert send(server.address, wire).startswith(b"HTTP/1.1 %d " % status)
            line = f"INFO halfsync: refused a request from 127.0.0.1 with {status}: {reason}; received {received}"
            until(lambda line=line: line in text_of(informed).splitlines())  # type: ignore[misc]
            assert "secret" not in informed.text
        informed.clear()
        assert fetch(server.address).status == 200
    assert "refused" not in informed.text


def test_no_cookie_and_no_authorization_is_ever_shown(serve: Serve, informed: Logged, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(hello, access_log=str(log)) as server:
        for number, (lines, (reason, shown)) in enumerate(SECRETS.items(), 1):
            informed.clear()
            status = 431 if "long" in reason else 400
            assert b" %d " % status in send(
                server.address, b"GET /secrets HTTP/1.1\r\n" + lines + b"\r\n\r\n"
            )
            line = f"{status}: {reason}; received 'GET /secrets HTTP/1.1', {shown}"
            until(lambda line=line: line in informed.text)  # type: ignore[misc]
            assert "secret" not in informed.text.replace("/secrets", "")
            until(lambda number=number: log.read_text().count("\n") == number)  # type: ignore[misc]
        assert "secret" not in log.read_text().replace("/secrets", "")


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"Cookie: secret", "Cookie"),
        (b"Authorization Bearer secret", "Authorization"),
        (b" secret", " "),
        (b"GET /cookie b secret HTTP/1.1", "GET /cookie"),
    ],
)
@pytest.mark.parametrize("log_format", ["combined", "json"])
def test_a_field_in_the_place_of_a_request_line_is_not_shown(
    serve: Serve, informed: Logged, tmp_path: Path, log_format: str, line: bytes, shown: str
) -> None:
    log = tmp_path / "access.log"
    with serve(hello, access_log=str(log), log_format=log_format) as server:
        assert b" 400 " in send(server.address, line + b"\r\n\r\n")
        until(lambda: f"; received {shown!r} ..." in informed.text)
        until(lambda: f'"{shown} ..."' in log.read_text())
        assert "secret" not in informed.text + log.read_text()


def test_a_cookie_that_comes_too_slowly_is_not_shown(serve: Serve, informed: Logged) -> None:
    with serve(hello, head_timeout=0.2) as server:
        for lines in (b"Cookie: secret", b"Cookie: a=b;\r\nsecret"):
            informed.clear()
            assert b" 408 " in send(server.address, b"GET / HTTP/1.1\r\n" + lines)
            until(lambda: "it did not come in time; received 'GET / HTTP/1.1', " in informed.text)
            assert "secret" not in informed.text


def test_a_request_that_comes_too_slowly_is_logged(serve: Serve, informed: Logged, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(hello, head_timeout=0.2, access_log=str(log)) as server:
        assert send(server.address, b"GET /slow HTTP/1.1\r\nHost").startswith(b"HTTP/1.1 408 ")
        line = "with 408: it did not come in time; received 'GET /slow HTTP/1.1', 'Host'"
        until(lambda: line in informed.text)
        until(lambda: '"GET /slow HTTP/1.1" 408 20 ' in log.read_text())


def test_of_many_refusals_some_are_logged_and_the_others_counted(serve: Serve, informed: Logged) -> None:
    number = 3 * AT_ONCE
    with serve(hello) as server:
        for _ in range(number):
            send(server.address, b"GET / HTTP/2.0\r\n\r\n")
    lines = [line for line in informed.text.splitlines() if "refused" in line]
    logged = sum("refused a request from" in line for line in lines)
    assert AT_ONCE <= logged < number
    counted = sum(int(count) for line in lines for count in re.findall(r"(\d+) more", line))
    assert logged + counted == number


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
def test_the_access_log_shows_refused_requests_as_they_came(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    wires = {
        b"GET / HTTP/2.0\r\n\r\n": ("GET / HTTP/2.0", 505),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": ("PRI * HTTP/2.0", 505),
        b"GET / HTTP/1.1\r\n\r\n": ("GET / HTTP/1.1", 400),
        b"GET / HTTP/1.7\r\n\r\n": ("GET / HTTP/1.7", 400),
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n": ("GET /a b HTTP/1.1", 400),
        b"GET /\r\n": ("GET /", 400),
        b"\r\nGET /x#y HTTP/1.1\r\n\r\n": ("GET /x#y HTTP/1.1", 400),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n": ("POST / HTTP/1.1", 400),
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n": ("POST / HTTP/1.0", 400),
        b"CONNECT a:1 HTTP/1.1\r\n\r\n": ("CONNECT a:1 HTTP/1.1", 501),
        b"\x16\x03\x01\x02\n": (r"\x16\x03\x01\x02", 400),
        b"HEAD / HTTP/1.1\r\n\r\n": ("HEAD / HTTP/1.1", 400),
        b"HELP / HTTP/1.1\r\n\r\n": ("HELP / HTTP/1.1", 400),
        CHUNKED + b"x\r\n": ("POST /x HTTP/1.1", 400),
    }
    with serve(hello, access_log=str(log)) as server:
        for number, (wire, (request, status)) in enumerate(wires.items(), 1):
            body = send(server.address, wire).partition(b"\r\n\r\n")[2]
            assert bool(body) == (not request.startswith("HEAD "))
            until(lambda number=number: log.read_text().count("\n") == number)  # type: ignore[misc]
            assert f' "{request}" {status} {len(body)} "-" "-" ' in log.read_text().splitlines()[-1]
        assert fetch(server.address, version="HTTP/1.2").status == 200
        until(lambda: '"GET / HTTP/1.2" 200 ' in log.read_text())


@pytest.mark.parametrize("name", ["X-Forwarded-Proto", "x-forwarded-for", "Forwarded", "X-Forwarded-Prefix"])
def test_fields_of_an_untrusted_proxy_are_worth_one_line(serve: Serve, informed: Logged, name: str) -> None:
    with serve(hello, forwarded_allow_ips=("192.0.2.1",)) as server:
        for _ in range(2):
            with Connection(server.address) as connection:
                for _ in range(2):
                    connection.send(build(fields=[(name, "https"), ("X-Forwarded-Host", "a")]))
                    assert connection.response().status == 200
    told = [line for line in informed.text.splitlines() if "ignored" in line]
    assert told == [
        f"INFO halfsync: ignored {name} from 127.0.0.1: forwarded_allow_ips does not name this peer (docs/proxies.md)"
    ]


def test_fields_of_a_trusted_proxy_are_not_logged(serve: Serve, informed: Logged) -> None:
    with serve(hello) as server:
        assert fetch(server.address, fields=[("X-Forwarded-Proto", "https")]).status == 200
    assert "ignored" not in informed.text


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {},
            r"it does not begin with a PROXY header, which proxy_protocol asks for; received 'GET / HTTP/1.1'",
        ),
        ({"proxy_allow_ips": ("192.0.2.1",)}, "proxy_allow_ips does not name it"),
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["http", "stream"])
def test_a_connection_without_its_proxy_header_is_logged(
    serve: Serve, informed: Logged, settings: dict[str, Any], reason: str, stream: bool
) -> None:
    with serve(Echo if stream else hello, stream=stream, proxy_protocol=True, **settings) as server:
        with suppress(ConnectionError):
            assert send(server.address, build()) == b""
        until(lambda: closed(reason) in text_of(informed).splitlines())


@pytest.mark.parametrize("stream", [False, True], ids=["http", "stream"])
def test_a_proxy_header_that_comes_too_slowly_is_logged(serve: Serve, informed: Logged, stream: bool) -> None:
    settings: dict[str, Any] = {"stream": stream, "proxy_protocol": True, "head_timeout": 0.2}
    with serve(Echo if stream else hello, **settings) as server:
        assert send(server.address, b"PROXY TCP4 192.0.2.") == b""
        reason = "its PROXY header did not come in time; received 'PROXY TCP4 192.0.2.'"
        until(lambda: closed(reason) in text_of(informed).splitlines())


@pytest.mark.plain_transport(
    "process",
    "thread",
    "pool",
    reason="a newcomer for which there is no room gets no answer before the handshake",
)
@pytest.mark.parametrize("header", [b"", line("192.0.2.7", 1)], ids=["peer", "proxied"])
def test_a_client_past_its_own_limit_is_logged(serve: Serve, informed: Logged, header: bytes) -> None:
    with (
        serve(hello, max_connections_per_client=1, proxy_protocol=bool(header)) as server,
        Connection(server.address) as first,
    ):
        first.send(header + build())
        assert first.response().status == 200
        with Connection(server.address) as second:
            second.send(header)
            assert second.response().status == 503
        until(lambda: "refused" in informed.text)
    client = "192.0.2.7" if header else "127.0.0.1"
    assert told(informed) == [f"refused a request from {client} with 503: {CLIENT_FULL}"]


@pytest.mark.parametrize("header", [b"", line("192.0.2.7", 1)], ids=["peer", "proxied"])
def test_a_client_of_a_stream_past_its_own_limit_is_logged(
    serve: Serve, informed: Logged, header: bytes
) -> None:
    with (
        serve(Echo, stream=True, max_connections_per_client=1, proxy_protocol=bool(header)) as server,
        Connection(server.address) as first,
    ):
        first.send(header + b"x")
        assert first.socket.recv(1) == b"x"
        with suppress(ConnectionError):
            assert send(server.address, header + b"secret") == b""
        until(lambda: "closed" in informed.text)
    assert told(informed) == [
        f"closed a connection from {'192.0.2.7' if header else '127.0.0.1'}: {CLIENT_FULL}"
    ]


@pytest.mark.plain_transport(
    "pool", reason="a newcomer for which there is no room gets no answer before the handshake"
)
@pytest.mark.only_on("proactor", "pool", reason="only these have a queue")
@pytest.mark.parametrize("stream", [False, True], ids=["http", "stream"])
def test_a_request_that_finds_the_queue_full_is_logged(
    serve: Serve, informed: Logged, model: dict[str, Any], stream: bool
) -> None:
    gate = Gate()
    application = Waiting.behind(gate) if stream else gate
    with serve(application, stream=stream, threads=1, queue_size=1) as server, ExitStack() as stack:
        running = stack.enter_context(Connection(server.address))
        running.send(build())
        gate.wait_entered(1)
        waiting = stack.enter_context(Connection(server.address))
        waiting.send(build())
        until(lambda: server.statistics()["queued"] == 1)
        with suppress(ConnectionError):
            answer = send(server.address, build(fields=[("Connection", "close")]))
            assert answer == b"" if stream else answer.startswith(b"HTTP/1.1 503 ")
        kind = "connections" if model["model"] == "pool" else "requests"
        reason = f"queue_size {kind} wait already"
        until(lambda: (closed(reason) if stream else f"with 503: {reason}") in text_of(informed))
        gate.opened.set()
        assert running.socket.recv(1)
        assert waiting.socket.recv(1)


@pytest.mark.only_on("proactor", reason="only it has queue_timeout")
@pytest.mark.parametrize("stream", [False, True], ids=["http", "stream"])
def test_a_request_that_waits_for_too_long_is_logged(serve: Serve, informed: Logged, stream: bool) -> None:
    gate = Gate()
    application = Waiting.behind(gate) if stream else gate
    with (
        serve(application, stream=stream, threads=1, queue_timeout=0.2) as server,
        Connection(server.address) as running,
    ):
        running.send(build())
        gate.wait_entered(1)
        with suppress(ConnectionError):
            answer = send(server.address, build(fields=[("Connection", "close")]))
            assert answer == b"" if stream else answer.startswith(b"HTTP/1.1 503 ")
        reason = "it waited for queue_timeout"
        until(
            lambda: (
                (closed(reason) if stream else f"with 503: {reason}; received 'GET /") in text_of(informed)
            )
        )
        gate.opened.set()
        assert running.socket.recv(1)


@pytest.mark.plain_transport(
    "process",
    "thread",
    "pool",
    reason="a newcomer for which there is no room gets no answer before the handshake",
)
@pytest.mark.only_on("thread", "process", reason="the others need nothing of the system for a connection")
@pytest.mark.parametrize("stream", [False, True], ids=["http", "stream"])
def test_a_refusal_without_a_thread_or_process_is_logged(
    serve: Serve, informed: Logged, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    begun: list[bool] = []
    real = os.fork

    def start(*_: object) -> int:
        if model["model"] == "process" and not begun:  # the first makes the parent
            begun.append(True)
            return real()
        raise OSError(errno.EAGAIN, "no process") if model["model"] == "process" else RuntimeError

    monkeypatch.setattr(originals.os, "fork", start)
    with serve(Echo if stream else hello, stream=stream) as server:
        monkeypatch.setattr(Thread, "start", start)
        with suppress(ConnectionError):
            answer = send(server.address, b"" if stream else build())
            assert answer == b"" if stream else answer.startswith(b"HTTP/1.1 503 ")
        reason = f"the system gives no {model['model']} for it"
        until(lambda: (closed(reason) if stream else f"with 503: {reason}") in text_of(informed))
        monkeypatch.undo()


def test_the_log_names_the_connection(
    serve: Serve, informed: Logged, model: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with serve(hello) as server, Connection(server.address) as connection:
        port = connection.socket.getsockname()[1]
        connection.send(b"GET /a HTTP/1.1\r\n\r\n")
        (page,) = connection.last_responses()
        assert page.status == 400
        until(lambda: f"refused a request from 127.0.0.1:{port} with 400: " in informed.text)
    details = [record.halfsync for record in caplog.records if hasattr(record, "halfsync")]
    if model["model"] != "process":  # in which another process has logged it
        assert details == [
            {
                "remote": "127.0.0.1", "remote_port": port, "peer": "127.0.0.1", "peer_port": port, "status": 400,
                "reason": "HTTP/1.1 without a Host field", "received": "'GET /a HTTP/1.1'", "left_out": None,
                "request_id": page.one("X-Request-Id"),
            }
        ]  # fmt: skip
        assert set(details[0]) <= set(KEYS)


def test_the_log_names_the_client_that_a_proxy_names(serve: Serve, informed: Logged) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nContent-Length: 101\r\n\r\n"
    with serve(hello, max_body=MAX_BODY) as server:
        assert send(server.address, head).startswith(b"HTTP/1.1 413 ")
        until(lambda: "refused a request from 192.0.2.7 through 127.0.0.1 with 413" in text_of(informed))
