"""Behind proxies, on every model: which peers may name the client, and what the application sees."""

import random
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.client import Connection, build, fetch
from tests.conformance.conftest import Wrap
from tests.conformance.test_wsgi_request import tell, told_by
from tests.conftest import Serve
from tests.proxies import LOCAL, TLVS, UNSPECIFIED, binary, line, raw
from tests.wire import at_random, by_byte
from tests.wsgi import TEXT, Environ, hello, until

from halfsync.errors import BindError

SHORT_S = 0.2
SLACK_S = 3.0  # what a busy machine may add; every other deadline of these servers is longer
LONG: dict[str, float] = {"first_byte_timeout": 60.0, "head_timeout": 60.0, "keep_alive": 60.0}
SEED = 20261125
FORGED = [
    ("X-Forwarded-For", "6.6.6.6"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "forged.example"),
    ("Forwarded", "for=6.6.6.6"),
]
TOLD = [
    ("X-Forwarded-For", "6.6.6.6, 203.0.113.7, 10.1.2.3"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "shop.example"),
    ("Forwarded", "for=6.6.6.6"),
]


def client_of(told: dict[str, str]) -> tuple[str, str]:
    return told["REMOTE_ADDR"], told["REMOTE_PORT"]


def logged_by(log: Path, number: int = 1) -> list[str]:
    """Return the addresses in the access log, once there are so many."""
    until(lambda: log.exists() and log.read_text().count("\n") >= number)
    return [entry.split()[0] for entry in log.read_text().splitlines()]


# --- Forwarded and X-Forwarded-* ------------------------------------------------------------------


def test_a_trusted_proxy_names_the_client(serve: Serve, wrap: Wrap, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    trusted = "127.0.0.1,10.0.0.0/8"
    with (
        serve(wrap(tell), access_log=str(log), forwarded_allow_ips=trusted) as server,
        Connection(server.address) as connection,
    ):
        connection.send(build(fields=TOLD))
        told = told_by(connection.response())
        assert client_of(told) == ("203.0.113.7", "")
        assert (told["wsgi.url_scheme"], told["HTTP_HOST"]) == ("https", "shop.example")
        assert (told["SERVER_NAME"], told["SERVER_PORT"]) == ("shop.example", "443")
        assert "HTTP_FORWARDED" not in told
        # It was said of that request and of no other.
        connection.send(build())
        told = told_by(connection.response())
        assert client_of(told) == ("127.0.0.1", str(connection.socket.getsockname()[1]))
        assert (told["wsgi.url_scheme"], told["HTTP_HOST"]) == ("http", "test.example")
        connection.send(build(fields=[("Forwarded", 'for="[2001:db8::7]:1234";proto=https')]))
        told = told_by(connection.response())
        assert (*client_of(told), told["wsgi.url_scheme"]) == ("2001:db8::7", "1234", "https")
        assert logged_by(log, 3) == ["203.0.113.7", "127.0.0.1", "2001:db8::7"]


def test_fields_of_another_peer_are_ignored(serve: Serve, wrap: Wrap, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(wrap(tell), access_log=str(log), forwarded_allow_ips="10.0.0.0/8,unix") as server:
        told = told_by(fetch(server.address, fields=FORGED))
        assert told["REMOTE_ADDR"] == "127.0.0.1"
        assert (told["wsgi.url_scheme"], told["HTTP_HOST"]) == ("http", "test.example")
        assert not [key for key in told if "FORWARDED" in key]
        assert logged_by(log) == ["127.0.0.1"]


@pytest.mark.parametrize(("trusted", "address"), [("unix", "203.0.113.7"), ("127.0.0.1", "")])
def test_a_unix_socket_is_trusted_if_it_is_listed(
    serve: Serve, wrap: Wrap, tmp_path: Path, trusted: str, address: str
) -> None:
    log = tmp_path / "access.log"
    path = tmp_path / "x.sock"
    settings = {"bind": f"unix:{path}", "access_log": str(log), "forwarded_allow_ips": trusted}
    with serve(wrap(tell), **settings), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        with Connection(sock) as connection:
            connection.send(build(fields=[("X-Forwarded-For", "203.0.113.7")]))
            assert client_of(told_by(connection.response())) == (address, "")
        assert logged_by(log) == [address or "-"]


def test_a_refusal_is_logged_for_the_client_too(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(hello, access_log=str(log), max_body=10) as server:
        fields = [("X-Forwarded-For", "203.0.113.7")]
        assert fetch(server.address, method="POST", body=bytes(11), fields=fields).status == 413
        assert logged_by(log) == ["203.0.113.7"]


def test_fields_of_a_client_are_ignored_in_a_refusal(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(hello, access_log=str(log), max_body=10, forwarded_allow_ips="none") as server:
        assert fetch(server.address, method="POST", body=bytes(11), fields=FORGED).status == 413
        assert logged_by(log) == ["127.0.0.1"]


def test_the_application_has_its_place_below_the_root_path(serve: Serve, wrap: Wrap) -> None:
    with serve(wrap(tell), root_path="/shop") as server:
        for target, path in (("/shop/a?b", "/a"), ("/a", "/a"), ("/shopping", "/shopping"), ("/", "/")):
            told = told_by(fetch(server.address, target))
            assert (told["SCRIPT_NAME"], told["PATH_INFO"]) == ("/shop", path)


# --- the PROXY protocol ---------------------------------------------------------------------------

HEADERS = {
    "v1": (line("203.0.113.7", 1234), ("203.0.113.7", "1234")),
    "v1-6": (line("2001:db8::7", 1234), ("2001:db8::7", "1234")),
    "v2": (binary("203.0.113.7", 1234), ("203.0.113.7", "1234")),
    "v2-6": (binary("2001:db8::7", 1234, tlvs=TLVS), ("2001:db8::7", "1234")),
    "v2-unix": (binary(), ("", "")),
}
every_header = pytest.mark.parametrize(("header", "client"), HEADERS.values(), ids=HEADERS)


@every_header
def test_a_proxy_header_names_the_client_of_a_whole_connection(
    serve: Serve, wrap: Wrap, tmp_path: Path, header: bytes, client: tuple[str, str]
) -> None:
    log = tmp_path / "access.log"
    settings: dict[str, Any] = {"proxy_protocol": True, "access_log": str(log)}
    with serve(wrap(tell), **settings) as server, Connection(server.address) as connection:
        connection.send(header)
        for _ in range(3):
            connection.send(build())
            assert client_of(told_by(connection.response())) == client
        assert logged_by(log, 3) == [client[0] or "-"] * 3
        assert server.statistics()["refused"] == 0


@pytest.mark.parametrize(
    "header",
    [b"PROXY UNKNOWN\r\n", binary("203.0.113.7", 1234, command=LOCAL), raw(LOCAL, UNSPECIFIED, b"")],
)
def test_without_a_client_in_the_header_the_peer_counts(serve: Serve, header: bytes) -> None:
    with serve(tell, proxy_protocol=True) as server, Connection(server.address) as connection:
        connection.send(header + build())
        host, port = connection.socket.getsockname()
        assert client_of(told_by(connection.response())) == (host, str(port))


@every_header
def test_a_proxy_header_may_come_in_any_pieces(serve: Serve, header: bytes, client: tuple[str, str]) -> None:
    wire = header + build("/first") + build("/second", method="POST", body=b"b" * 10)
    print("seed", SEED)
    with serve(tell, proxy_protocol=True) as server:
        for pieces in ([wire], [header, wire[len(header) :]], by_byte(wire), at_random(wire, SEED)):
            with Connection(server.address) as connection:
                for piece in pieces:
                    connection.send(piece)
                for path in ("/first", "/second"):
                    told = told_by(connection.response())
                    assert (told["PATH_INFO"], *client_of(told)) == (path, *client)
        assert server.statistics()["refused"] == 0


def test_a_large_body_may_come_with_the_header(serve: Serve) -> None:
    def app(environ: Environ, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read()
        start_response("200 OK", [*TEXT])
        return [b"%d %s" % (len(body), environ["REMOTE_ADDR"].encode())]

    with serve(app, proxy_protocol=True) as server, Connection(server.address) as connection:
        connection.send(line("203.0.113.7", 1) + build(method="POST", body=bytes(300_000)))
        assert connection.response().body == b"300000 203.0.113.7"


def test_a_header_alone_begins_the_wait_for_a_request(serve: Serve) -> None:
    settings: dict[str, Any] = {**LONG, "proxy_protocol": True}
    with (
        serve(tell, **settings | {"head_timeout": SHORT_S}) as server,
        Connection(server.address) as connection,
    ):
        connection.send(line("203.0.113.7", 1))
        with suppress(TimeoutError):  # its head has not begun: the deadline of heads does not end it
            connection.socket.settimeout(SHORT_S * 3)
            assert connection.socket.recv(1) is None
        connection.socket.settimeout(15)
        connection.send(build())
        assert client_of(told_by(connection.response())) == ("203.0.113.7", "1")
    with (
        serve(tell, **settings | {"first_byte_timeout": SHORT_S}) as server,
        Connection(server.address) as connection,
    ):
        connection.send(line("203.0.113.7", 1))
        connection.closed()
        assert server.statistics()["refused"] == 0


def test_half_a_head_behind_the_header_is_answered_408(serve: Serve) -> None:
    settings: dict[str, Any] = {**LONG, "proxy_protocol": True, "head_timeout": SHORT_S}
    with serve(tell, **settings) as server, Connection(server.address) as connection:
        connection.send(line("203.0.113.7", 1) + b"GET / HT")
        assert connection.response().status == 408


@pytest.mark.parametrize("start", [b"", b"PROXY", b"PROXY TCP4 203.0.113.7 ", binary("203.0.113.7", 1)[:-1]])
def test_a_header_must_come_in_time(serve: Serve, start: bytes) -> None:
    name = "head_timeout" if start else "first_byte_timeout"
    settings: dict[str, Any] = {**LONG, "proxy_protocol": True, name: SHORT_S}
    with serve(tell, **settings) as server, Connection(server.address) as connection:
        since = time.monotonic()
        connection.send(start)
        connection.closed()
        assert SHORT_S * 0.9 <= time.monotonic() - since <= SHORT_S + SLACK_S
        until(lambda: server.statistics()["refused"] == bool(start))


@pytest.mark.parametrize(
    "wire",
    [
        build(),
        b"\r\n" + build(),
        line("203.0.113.7", 1).replace(b"TCP4", b"TCP5") + build(),
        line("203.0.113.7", 99999) + build(),
        raw(0x21, 0x11, bytes(11)) + build(),
        raw(0x21, 0x11, bytes(5000)),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["request", "crlf", "family", "port", "short", "long", "tls"],
)
def test_a_connection_without_a_header_is_closed_without_an_answer(serve: Serve, wire: bytes) -> None:
    with serve(tell, **LONG, proxy_protocol=True) as server:
        with Connection(server.address) as connection:
            connection.send(wire)
            connection.closed()
        until(lambda: server.statistics()["refused"] == 1)
        until(lambda: server.statistics()["open"] == 0)
        assert server.statistics()["requests"] == 0


def test_a_header_is_read_once(serve: Serve) -> None:
    with serve(tell, proxy_protocol=True) as server, Connection(server.address) as connection:
        header = line("203.0.113.7", 1)
        connection.send(header + build() + header + build())
        assert client_of(told_by(connection.response())) == ("203.0.113.7", "1")
        assert connection.response().status == 400
        connection.closed()


@pytest.mark.parametrize("allowed", ["none", "10.0.0.0/8,unix", "127.0.0.2"])
def test_a_peer_that_may_not_send_a_header_is_closed(serve: Serve, allowed: str) -> None:
    with serve(tell, **LONG, proxy_protocol=True, proxy_allow_ips=allowed) as server:
        for number in (1, 2):
            with suppress(ConnectionError), Connection(server.address) as connection:
                connection.send(line("203.0.113.7", 1) + build())
                assert connection.cut() == b""
            until(lambda number=number: server.statistics()["refused"] == number)  # type: ignore[misc]
        assert server.statistics()["accepted"] == 2
        assert server.statistics()["requests"] == 0
        until(lambda: server.statistics()["open"] == 0)


def test_the_client_of_a_header_is_believed_as_if_it_had_connected(serve: Serve) -> None:
    with serve(tell, proxy_protocol=True, forwarded_allow_ips="127.0.0.1,203.0.113.7") as server:
        for client, told_client in (("203.0.113.7", "6.6.6.6"), ("203.0.113.8", "203.0.113.8")):
            with Connection(server.address) as connection:
                connection.send(line(client, 1) + build(fields=FORGED))
                assert told_by(connection.response())["REMOTE_ADDR"] == told_client


def test_a_waiting_connection_does_not_hold_up_a_drain(serve: Serve) -> None:
    settings: dict[str, Any] = {**LONG, "proxy_protocol": True}
    with serve(tell, **settings) as server, Connection(server.address) as connection:
        connection.send(line("203.0.113.7", 1) + build())
        connection.response()
        with Connection(server.address) as silent, Connection(server.address) as greeted:
            greeted.send(line("203.0.113.7", 1))
            until(lambda: server.statistics()["open"] == 3)
            greeted.send(build())
            greeted.response()
            server.drain()
            assert server.wait(SLACK_S)
            silent.closed()


# --- raw TCP --------------------------------------------------------------------------------------


class Echo:
    """Sends back what it receives."""

    def received(self, data: bytes) -> bytes:
        """Return it."""
        return data

    def closed(self) -> None:
        """Do nothing."""


def received(connection: Connection, number: int) -> bytes:
    data = b""
    while len(data) < number and (more := connection.socket.recv(number - len(data))):
        data += more
    return data


@every_header
def test_a_stream_begins_behind_the_header(serve: Serve, header: bytes, client: tuple[str, str]) -> None:
    sent = random.Random(SEED).randbytes(1000)
    print("seed", SEED)
    with serve(Echo, stream=True, proxy_protocol=True) as server:
        for pieces in (
            [header + sent],
            [header, sent],
            by_byte(header + sent[:20]),
            at_random(header + sent, SEED),
        ):
            whole = b"".join(pieces)[len(header) :]
            with Connection(server.address) as connection:
                for piece in pieces:
                    connection.send(piece)
                assert received(connection, len(whole)) == whole
                connection.send(header)  # the second is no header
                assert received(connection, len(header)) == header
        assert server.statistics()["refused"] == 0


@pytest.mark.parametrize("wire", [b"no header", b"PROXY TCP4 1 2 3 4\r\n", b"PROX"])
def test_a_stream_without_a_header_is_closed_without_an_answer(serve: Serve, wire: bytes) -> None:
    settings: dict[str, Any] = {**LONG, "stream": True, "proxy_protocol": True, "head_timeout": SHORT_S}
    with serve(Echo, **settings) as server:
        with Connection(server.address) as connection:
            connection.send(wire)
            connection.closed()
        until(lambda: server.statistics()["refused"] == 1)


def test_a_stream_is_refused_to_other_peers(serve: Serve) -> None:
    with serve(Echo, stream=True, proxy_protocol=True, proxy_allow_ips="unix") as server:
        with suppress(ConnectionError), Connection(server.address) as connection:
            connection.send(line("203.0.113.7", 1) + b"data")
            assert connection.cut() == b""
        until(lambda: server.statistics()["refused"] == 1)


# --- unix sockets ---------------------------------------------------------------------------------


def test_a_unix_socket_is_made_with_the_mode_and_owner_of_the_settings(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    for settings, mode in (({}, 0o666), ({"unix_mode": "0600"}, 0o600), ({"unix_mode": 0o660}, 0o660)):
        with serve(hello, bind=f"unix:{path}", **settings):
            assert path.lstat().st_mode & 0o777 == mode


def test_an_unknown_owner_is_a_clear_error(serve: Serve, tmp_path: Path) -> None:
    with (
        pytest.raises(BindError, match="unix_owner: there is no user"),
        serve(hello, bind=f"unix:{tmp_path / 'x.sock'}", unix_owner="nobody-of-that-name"),
    ):
        pytest.fail("it must not start")
