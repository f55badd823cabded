"""Connections between requests and at their end."""

import os
import socket
import threading
import time
from wsgiref.types import StartResponse

from tests.client import Connection, build
from tests.conftest import Serve, on_both_pollers
from tests.wsgi import Environ, hello, wait

pytestmark = on_both_pollers

MIB = 1 << 20


def test_idle_connection_is_closed_when_its_time_is_over_and_not_much_later(serve: Serve) -> None:
    with serve(hello, keep_alive=1.0) as server, Connection(server.address) as client:
        client.send(build())
        client.response()
        begun = time.monotonic()
        assert client.socket.recv(1) == b""
        assert 0.9 < time.monotonic() - begun < 5.0


def test_idle_time_begins_with_the_end_of_the_response(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        time.sleep(2.2)  # longer than the connection may idle
        return hello(environ, start_response)

    with serve(app, keep_alive=2.0) as server, Connection(server.address) as client:
        client.send(build())
        client.response()
        begun = time.monotonic()
        assert client.socket.recv(1) == b""
        assert 1.9 < time.monotonic() - begun < 5.0


def test_last_response_arrives_whole_if_the_client_sent_more_than_was_read(serve: Serve) -> None:
    entered, go_on = threading.Event(), threading.Event()
    body = bytes(3 * MIB)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        entered.set()
        wait(go_on)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with serve(app) as server, socket.socket() as client:
        client.settimeout(15)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect(server.address)
        client.sendall(build(fields=[("Connection", "close")]))
        wait(entered)
        client.sendall(bytes(100_000))
        client.shutdown(socket.SHUT_WR)
        go_on.set()
        received = b""
        while data := client.recv(65_536):
            received += data
            time.sleep(0.002)  # a slow reader: the server has closed long before the end
        assert received.endswith(body)


def test_client_sees_the_end_even_if_a_child_holds_the_socket(serve: Serve) -> None:
    with serve(hello, keep_alive=0.5) as server, Connection(server.address) as client:
        client.send(build())
        client.response()
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        os.close(reader)
        try:
            assert client.socket.recv(1) == b""
        finally:
            os.close(writer)
            os.waitpid(process, 0)


def test_drain_cuts_no_response_to_a_client_that_goes_on_sending(serve: Serve) -> None:
    entered, go_on = threading.Event(), threading.Event()
    body = bytes(3 * MIB)

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        entered.set()
        wait(go_on)
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with serve(app) as server, socket.socket() as client:
        client.settimeout(15)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.connect(server.address)
        client.sendall(build(fields=[("Connection", "close")]))
        wait(entered)
        server.drain()
        go_on.set()
        received = b""
        while data := client.recv(65_536):
            received += data
            if len(received) < len(body) // 2:
                client.sendall(b"more")
            time.sleep(0.002)  # a slow reader: the server is done long before the end
        assert received.endswith(body)
