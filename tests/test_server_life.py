"""The life of a server: what a start, a drain and a close leave behind."""

import logging
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from wsgiref.types import StartResponse

import pytest

import halfsync
from halfsync.runtime import originals
from halfsync.runtime import threads as runtime_threads
from tests.client import Connection, build
from tests.wsgi import EVENT_TIMEOUT_S, Environ, hello, wait

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
def test_closed_server_does_not_listen(started: bool) -> None:
    server = halfsync.Server(hello, bind=LOOPBACK)
    address = server.listeners[0].socket.getsockname()
    if started:
        server.start()
    assert server.close(EVENT_TIMEOUT_S)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


def test_server_is_started_only_once() -> None:
    with halfsync.Server(hello, bind=LOOPBACK) as server:
        with pytest.raises(RuntimeError, match="only once"):
            server.start()
        with Connection(server.address) as client:
            client.send(build())
            assert client.response().body == b"hello, you"


def test_failed_start_leaves_no_thread_and_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = threading.active_count()

    def no_pipe() -> tuple[int, int]:
        raise OSError(24, "Too many open files")

    server = halfsync.Server(hello, bind=LOOPBACK)
    with monkeypatch.context() as patch:
        patch.setattr(originals.os, "pipe", no_pipe)
        with pytest.raises(OSError, match="Too many open files"), server:
            pass
    assert threading.active_count() == threads
    begun: list[str] = []

    def third_fails(thread: threading.Thread) -> None:
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread.name)
        real_start(thread)

    real_start = threading.Thread.start
    server = halfsync.Server(hello, bind=LOOPBACK)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(threading.Thread, "start", third_fails)
    with pytest.raises(RuntimeError, match="new thread"):
        server.start()
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    server.close()


def test_wait_ends_even_if_a_child_holds_the_descriptors() -> None:
    with halfsync.Server(hello, bind=LOOPBACK) as server, child():
        server.drain()
        assert server.wait(10)


def test_wait_with_descriptors_above_1023() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("the limit on open files is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        with halfsync.Server(hello, bind=LOOPBACK) as server:
            server.drain()
            assert server.wait(10)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("size", [5, 32 << 20], ids=["small", "large"])
def test_response_after_the_end_closes_its_connection(size: int) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        entered.set()
        wait(go_on)
        start_response("200 OK", [("Content-Length", str(size))])
        return [bytes(size)]

    server = halfsync.Server(app, bind=LOOPBACK, spool_disk=0)
    server.start()
    with Connection(server.address) as client:
        client.send(build())
        wait(entered)
        assert not server.close(0.1)
        go_on.set()
        received = 0
        while data := client.socket.recv(1 << 20):
            received += len(data)
        assert received > 0
    assert server.close(10)


def test_a_start_without_a_monitor_thread_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(thread: threading.Thread) -> None:
        if thread.name == "halfsync-monitor":
            raise RuntimeError("can't start new thread")
        real_start(thread)

    threads = threading.active_count()
    real_start = threading.Thread.start
    server = halfsync.Server(hello, bind=LOOPBACK)
    monkeypatch.setattr(threading.Thread, "start", fails)
    with pytest.raises(RuntimeError, match="new thread"), server:
        pass
    assert threading.active_count() == threads


def test_a_log_that_does_not_return_holds_up_no_close_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leaves = threading.Event(), threading.Event()

    class Stuck(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            entered.set()
            wait(leaves)

    logger, handler, level = logging.getLogger("halfsync"), Stuck(), logging.getLogger("halfsync").level
    monkeypatch.setattr(runtime_threads, "LOGGING_S", 0.05)
    server = halfsync.Server(hello, bind=LOOPBACK, threads=1)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        server.start()
        with Connection(server.address) as client:
            client.send(b"nonsense\r\n")
            assert client.response().status == 400
            wait(entered)
        with Connection(server.address) as client:
            client.send(build())
            assert client.response().status == 200
        assert not server.close()
    finally:
        leaves.set()
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert server.close(EVENT_TIMEOUT_S)
