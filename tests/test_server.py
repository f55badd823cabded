"""The life of a server: what a start, a drain and a close leave behind."""

import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build
from tests.wsgi import Environ, hello, wait

import halfsync

LOOPBACK = "127.0.0.1:0"


@contextmanager
def child() -> Iterator[None]:
    """Fork a process that does nothing but hold every descriptor open."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        os.waitpid(process, 0)


@pytest.mark.parametrize("started", [False, True])
def test_closed_server_listens_no_more(started: bool) -> None:
    server = halfsync.Server(hello, bind=LOOPBACK)
    address = server.listeners[0].socket.getsockname()
    if started:
        server.start()
    assert server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
