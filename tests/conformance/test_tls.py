"""TLS in every model: what a server says, and that a handshake, slow or hostile, is nobody else's business."""

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import tls
from tests.client import Connection, Response, build
from tests.conftest import Serve
from tests.sharing import foreign_environment

HTTPS = {"bind": ["https://127.0.0.1:0"], **tls.settings()}
STALLED = 40  # handshakes that stop midway, ten for each thread
SHORT_S = 0.5


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Scheme", environ["wsgi.url_scheme"])])
    return [b"Hello, world!\n"]


def big(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", str(20 << 20))])
    return [b"x" * (5 << 20)] * 4


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def over_tls(address: Any, **options: Any) -> Iterator[Connection]:
    """Connect, shake hands, and return the connection."""
    sock = tls.wrap(socket.create_connection(address, timeout=30), **options)
    with Connection(sock) as connection:
        sock.do_handshake()
        yield connection


def fetch(address: Any) -> Response:
    with over_tls(address) as connection:
        connection.send(build())
        return connection.response()


def test_an_application_learns_that_it_is_https(serve: Serve) -> None:
    with serve(hello, **HTTPS) as server:
        assert server.url.startswith("https://")
        response = fetch(server.address)
        assert (response.status, response.one("X-Scheme")) == (200, "https")


def test_a_server_has_listeners_with_tls_and_without(serve: Serve) -> None:
    with serve(hello, **HTTPS | {"bind": ["https://127.0.0.1:0", "http://127.0.0.1:0"]}) as server:
        secure, plain = (listener.socket.getsockname() for listener in server.listeners)
        assert fetch(secure).one("X-Scheme") == "https"
        with socket.create_connection(plain, timeout=30) as client:
            client.sendall(build(fields=[("Connection", "close")]))
            assert b"X-Scheme: http\r\n" in b"".join(iter(lambda: client.recv(65_536), b""))


def test_a_bind_without_a_scheme_speaks_tls_if_there_is_a_certificate(serve: Serve) -> None:
    with serve(hello, **tls.settings()) as server:
        assert fetch(server.address).one("X-Scheme") == "https"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_requests_follow_each_other(serve: Serve, version: ssl.TLSVersion) -> None:
    context = tls.authority().client()
    context.minimum_version = context.maximum_version = version
    with serve(hello, **HTTPS) as server, over_tls(server.address, context=context) as client:
        for _ in range(5):
            client.send(build())
            assert client.response().body == b"Hello, world!\n"
        client.send(build() * 3)  # pipelined
        for _ in range(3):
            assert client.response().body == b"Hello, world!\n"


def test_a_large_body_comes_back(serve: Serve) -> None:
    body = os.urandom(3 << 20)
    with serve(echo, **HTTPS) as server, over_tls(server.address) as client:
        client.send(build("/", method="POST", body=body))
        assert client.response("POST").body == body


def test_a_response_that_does_not_fit_the_socket_comes_whole(serve: Serve) -> None:
    with serve(big, **HTTPS) as server, over_tls(server.address) as client:
        client.send(build())
        assert len(client.response().body) == 20 << 20
        client.send(build())
        assert client.response().status == 200


def test_a_static_file_comes_whole(serve: Serve, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "file.bin").write_bytes(data)
    with serve(hello, **HTTPS, static={"/static": tmp_path}) as server, over_tls(server.address) as client:
        client.send(build("/static/file.bin"))
        assert client.response().body == data


def test_a_request_without_tls_is_told(serve: Serve) -> None:
    with serve(hello, **HTTPS) as server, socket.create_connection(server.address, timeout=30) as client:
        client.sendall(build())
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"This port speaks HTTPS" in answer


def test_the_last_response_ends_with_close_notify(serve: Serve) -> None:
    with serve(hello, **HTTPS) as server:
        context = tls.authority().client()
        sock = context.wrap_socket(
            socket.create_connection(server.address, timeout=30), server_hostname="localhost",
            suppress_ragged_eofs=False)  # fmt: skip
        with Connection(sock) as client:
            client.send(build(fields=[("Connection", "close")]))
            assert client.response().status == 200
            assert client.rest() == b"", "an end without close_notify would be an error"


def stalled(address: Any, stack: ExitStack, number: int) -> list[socket.socket]:
    """Begin handshakes that do not go on: some connect only, some send a part of their first message."""
    clients = []
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    begun = tls.authority().client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        begun.do_handshake()
    message = outgoing.read()
    for position in range(number):
        client = stack.enter_context(socket.create_connection(address, timeout=30))
        client.sendall((b"", message[:3], message[:100], message)[position % 4])
        clients.append(client)
    return clients


def test_handshakes_that_stop_hold_nobody_up(serve: Serve) -> None:
    settings = HTTPS | {"handshake_timeout": 60, "max_connections": 500}
    with serve(hello, **settings) as server, ExitStack() as stack:
        stalled(server.address, stack, STALLED)
        for _ in range(3):
            assert fetch(server.address).status == 200


def test_a_handshake_has_a_deadline(serve: Serve) -> None:
    with serve(hello, **HTTPS | {"handshake_timeout": SHORT_S}) as server, ExitStack() as stack:
        for client in stalled(server.address, stack, 4):
            try:
                while client.recv(65_536):
                    pass  # its own half of the handshake, or an alert
            except ConnectionResetError:
                pass


def test_garbage_ends_a_connection_and_no_other(serve: Serve) -> None:
    with serve(hello, **HTTPS) as server, over_tls(server.address) as healthy:
        for garbage in (b"\x16\x03\x01\x00\x05hello", b"\x00" * 100, b"\x17\x03\x03\x00\x01x"):
            with socket.create_connection(server.address, timeout=30) as client:
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                try:
                    while client.recv(65_536):
                        pass
                except ConnectionResetError:
                    pass
        # A record that is no record, after the handshake.
        with over_tls(server.address) as client:
            os.write(client.socket.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                client.rest()
        healthy.send(build())
        assert healthy.response().status == 200


def test_a_client_comes_back_without_a_full_handshake(serve: Serve) -> None:
    context = tls.authority().client()
    with serve(hello, **HTTPS) as server:
        with over_tls(server.address, context=context) as client:
            client.send(build())
            client.response()
            session = client.socket.session  # type: ignore[attr-defined]
        sock = context.wrap_socket(
            socket.create_connection(server.address, timeout=30), server_hostname="localhost",
            session=session)  # fmt: skip
        with Connection(sock) as client:
            client.send(build())
            assert client.response().status == 200
            assert sock.session_reused


def test_a_record_may_come_byte_by_byte(serve: Serve) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    speaker = tls.authority().client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with serve(hello, **HTTPS) as server, socket.create_connection(server.address, timeout=30) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def move() -> None:
            for byte in outgoing.read():
                client.sendall(bytes([byte]))

        def until_done(step: Any, *arguments: Any) -> Any:
            while True:
                try:
                    result = step(*arguments)
                except ssl.SSLWantReadError:
                    move()
                    incoming.write(client.recv(65_536))
                else:
                    move()
                    return result

        until_done(speaker.do_handshake)
        until_done(speaker.write, build())
        assert b"200 OK" in until_done(speaker.read, 65_536)


def test_curl_gets_an_answer(serve: Serve, tmp_path: Path) -> None:
    trust = tls.authority().trust(tmp_path / "ca.pem")
    with serve(hello, **HTTPS) as server:
        url = f"https://localhost:{server.address[1]}/"
        done = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "--cacert", str(trust), url, url],
            capture_output=True, timeout=60, check=False, env=foreign_environment())  # fmt: skip
        assert (done.returncode, done.stdout) == (0, b"Hello, world!\n" * 2), done.stderr


def test_openssl_finds_no_renegotiation_and_the_whole_chain(serve: Serve, tmp_path: Path) -> None:
    trust = tls.authority().trust(tmp_path / "ca.pem")
    with serve(hello, **HTTPS) as server:
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{server.address[1]}", "-CAfile", str(trust), "-tls1_2"],
            input=b"R\n", capture_output=True, timeout=60, check=False, env=foreign_environment())  # fmt: skip
        assert b"Verify return code: 0 (ok)" in done.stdout
        assert b"Compression: NONE" in done.stdout
        assert b"no renegotiation" in done.stderr + done.stdout
