"""Requests whose application takes longer than request_timeout: answered on time, and no other request notices."""

import logging
import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from wsgiref.types import StartResponse

import pytest

from tests.client import Connection, CutError, build, fetch
from tests.conftest import Serve, on_both_pollers
from tests.faults.serving import Serving
from tests.wsgi import TEXT, Body, Environ, Gate, hello, until, wait

pytestmark = on_both_pollers

LIMIT_S = 0.3
SLACK_S = 3.0  # what a busy machine may add
MIB = 1 << 20
SEED = int(os.environ.get("HALFSYNC_TEST_SEED", "20261125"))


class Sticky(Gate):
    """Answers at once, but for paths that begin with /stuck: those wait for the gate."""

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Wait, or do not, and answer with the path."""
        if environ["PATH_INFO"].startswith("/stuck"):
            return super().__call__(environ, start_response)
        start_response("200 OK", [*TEXT])
        return [environ["PATH_INFO"].encode("latin-1")]


@pytest.fixture
def gate() -> Iterator[Sticky]:
    """Return an application whose stuck requests are released at the end, whatever happens."""
    made = Sticky()
    yield made
    made.opened.set()


def test_it_is_answered_504_on_time_and_the_connection_closed(serve: Serve, gate: Sticky) -> None:
    with serve(gate, request_timeout=LIMIT_S) as server, Connection(server.address) as connection:
        connection.send(build("/stuck"))
        gate.wait_entered(1)
        since = time.monotonic()
        assert connection.response().status == 504
        assert time.monotonic() - since < LIMIT_S + SLACK_S
        connection.closed()
        assert server.statistics()["timed_out"] == 1
        gate.opened.set()


def test_a_head_request_is_answered_without_a_body(serve: Serve, gate: Sticky) -> None:
    with serve(gate, request_timeout=LIMIT_S) as server, Connection(server.address) as connection:
        connection.send(build("/stuck", method="HEAD"))
        assert connection.response("HEAD").status == 504
        connection.closed()
        gate.opened.set()


def test_a_request_in_time_meets_no_deadline(serve: Serve) -> None:
    with serve(hello, request_timeout=60) as server, Connection(server.address) as connection:
        for _ in range(100):
            connection.send(build())
            assert connection.response().status == 200
        assert server.statistics()["timed_out"] == 0


def test_capacity_is_kept_and_the_thread_ends_when_its_call_returns(serve: Serve, gate: Sticky) -> None:
    threads = 2
    with serve(gate, threads=threads, request_timeout=LIMIT_S) as server:
        before = threading.active_count()
        for round_ in range(3):
            connections = [Connection(server.address) for _ in range(threads)]
            for connection in connections:
                connection.send(build(f"/stuck/{round_}"))
            for connection in connections:
                assert connection.response().status == 504
                connection.reset()
            assert fetch(server.address, "/quick").body == b"/quick"
        until(lambda: server.statistics()["stuck"] == 3 * threads)
        gate.opened.set()
        until(lambda: server.statistics()["stuck"] == 0)
        until(lambda: threading.active_count() == before)
        assert fetch(server.address, "/quick").body == b"/quick"


def test_a_thread_that_returns_while_another_is_started_in_its_place_ends(
    serve: Serve, gate: Sticky, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting it lets other threads run; earlier decisions hold."""
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        if thread.name == f"halfsync-worker-{threads + 1}":
            gate.opened.set()
            with suppress(AssertionError):  # the stuck one may return now, or must wait for this one
                until(lambda: server.statistics()["stuck"] == 0, timeout_s=0.5)
        start(thread)

    threads = 2
    with serve(gate, threads=threads, request_timeout=LIMIT_S) as server:
        before = workers_now()
        assert before == threads
        monkeypatch.setattr(threading.Thread, "start", start_late)
        assert fetch(server.address, "/stuck").status == 504
        until(lambda: server.statistics()["stuck"] == 0 and gate.opened.is_set())
        until(lambda: workers_now() == before)
        assert fetch(server.address, "/quick").body == b"/quick"


def workers_now() -> int:
    """Return how many worker threads there are."""
    return sum(thread.name.startswith("halfsync-worker-") for thread in threading.enumerate())


def test_a_returning_thread_replaces_a_refused_replacement(
    serve: Serve, gate: Sticky, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("halfsync-worker-"):
            raise RuntimeError("no more threads")
        start(thread)

    with serve(gate, threads=2, request_timeout=LIMIT_S) as server:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert fetch(server.address, "/stuck").status == 504
        until(lambda: "no thread takes its place: no more threads" in caplog.text)
        assert fetch(server.address, "/quick").body == b"/quick"
        gate.opened.set()
        until(lambda: server.statistics()["stuck"] == 0)
        assert workers_now() == 2
        assert fetch(server.address, "/quick").body == b"/quick"


def test_a_log_that_fails_does_not_end_the_thread_that_replaces_stuck_ones(
    serve: Serve, gate: Sticky, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_record: logging.LogRecord) -> bool:
        raise ValueError("a filter of the application's")

    monkeypatch.setattr(threading, "excepthook", lambda _told: None)
    logger = logging.getLogger("halfsync")
    logger.addFilter(fail)
    try:
        with serve(gate, threads=1, request_timeout=LIMIT_S) as server:
            for number in range(3):  # each needs the replacement of the one before
                assert fetch(server.address, f"/stuck/{number}").status == 504
            until(lambda: server.statistics()["stuck"] == 3)
            gate.opened.set()
            until(lambda: server.statistics()["stuck"] == 0)
            until(lambda: workers_now() == 1)
    finally:
        logger.removeFilter(fail)


def test_past_the_bound_no_thread_is_replaced_until_one_returns(serve: Serve, gate: Sticky) -> None:
    with serve(gate, threads=2, request_timeout=LIMIT_S, max_stuck=1) as server:
        connections = [Connection(server.address) for _ in range(3)]
        for number, connection in enumerate(connections):
            connection.send(build(f"/stuck/{number}"))
        assert server.ready
        for connection in connections:
            assert connection.response().status == 504
            connection.reset()
        until(lambda: server.statistics()["stuck"] == 3)
        assert not server.ready
        with Connection(server.address) as waiting:
            waiting.send(build("/quick"))
            until(lambda: server.statistics()["queued"] == 1)
            gate.opened.set()
            assert waiting.response().body == b"/quick"
        until(lambda: server.statistics()["stuck"] == 0)
        assert server.ready


def test_the_stack_is_logged_with_the_request(
    serve: Serve, gate: Sticky, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(gate, request_timeout=LIMIT_S) as server:
        assert fetch(server.address, "/stuck?in=here").status == 504
        until(lambda: caplog.records)
        gate.opened.set()
    text = caplog.text
    assert caplog.records[0].levelno == logging.ERROR
    assert "GET /stuck?in=here" in text
    assert "halfsync-worker-" in text
    assert "in wait" in text, "the innermost function of the application"


def test_a_thread_is_replaced_even_if_its_stack_cannot_be_read(
    serve: Serve, gate: Sticky, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise MemoryError

    def told(number: int) -> bool:
        return caplog.text.count("another thread takes its place") == number

    monkeypatch.setattr(sys, "_current_frames", fail)
    with serve(gate, request_timeout=LIMIT_S, threads=1) as server:
        for number in range(1, 4):
            assert fetch(server.address, f"/stuck/{number}").status == 504
            assert fetch(server.address, "/").body == b"/"
            until(partial(told, number))
        gate.opened.set()


def test_a_late_response_is_dropped(serve: Serve) -> None:
    """The thread comes back with a response when its connection's record and descriptor are others' long since."""
    opened, entered, body = threading.Event(), threading.Event(), Body([b"late " * 100])

    def app(environ: Environ, start_response: StartResponse) -> Body | list[bytes]:
        start_response("200 OK", [*TEXT])
        if environ["PATH_INFO"] != "/stuck":
            return [environ["PATH_INFO"].encode()]
        entered.set()
        wait(opened)
        return body

    with serve(app, request_timeout=LIMIT_S) as server:
        assert fetch(server.address, "/stuck").status == 504
        wait(entered)
        with ThreadPoolExecutor(8) as pool:
            connections = [Connection(server.address) for _ in range(8)]

            def ask(connection: Connection) -> None:
                for number in range(100):
                    if number == 50:
                        opened.set()
                    connection.send(build(f"/{number}"))
                    assert connection.response().body == f"/{number}".encode()

            list(pool.map(ask, connections))
            for connection in connections:
                connection.reset()
        wait(body.closed)
        assert body.closes == 1


@pytest.mark.parametrize("size", [10, 20 * MIB], ids=["sent", "waiting"])
def test_a_response_that_has_begun_is_cut(serve: Serve, gate: Sticky, size: int) -> None:
    closed = threading.Event()

    def app(_environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT])
        try:
            yield bytes(10 if gate.opened.is_set() else size)
            wait(gate.opened)
            yield b"end"
        finally:
            closed.set()

    with serve(app, request_timeout=LIMIT_S) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.head().status == 200
        if size <= MIB:
            assert connection.chunk() == bytes(size)
        with pytest.raises((CutError, ConnectionResetError)):
            while connection.chunk():
                pass
        until(lambda: server.statistics()["timed_out"] == 1)
        gate.opened.set()
        wait(closed)
        assert fetch(server.address, "/").status == 200


def test_time_in_the_queue_does_not_count(serve: Serve) -> None:
    """Four requests wait for one thread: all of them together take longer than each may."""
    pause, limit = 0.25, 0.7

    def app(_environ: Environ, start_response: StartResponse) -> list[bytes]:
        time.sleep(pause)  # what is measured is the server's clock, not this
        start_response("200 OK", [*TEXT])
        return [b"done"]

    with serve(app, threads=1, request_timeout=limit) as server, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: fetch(server.address, "/").status, range(4)))
    assert answers == [200] * 4


def test_a_drain_waits_no_longer_than_the_deadline(serve: Serve, gate: Sticky) -> None:
    with serve(gate, request_timeout=LIMIT_S) as server, Connection(server.address) as connection:
        connection.send(build("/stuck"))
        gate.wait_entered(1)
        server.drain()
        assert connection.response().status == 504
        connection.reset()
        assert server.wait(SLACK_S)
        gate.opened.set()


def test_another_model_refuses_the_setting(serve: Serve) -> None:
    with pytest.raises(Exception, match="request_timeout"), serve(hello, model="thread", request_timeout=1):
        pass


def test_the_answer_is_on_time_while_the_application_holds_the_gil(
    tmp_path: Path, model: dict[str, str]
) -> None:
    hold_s = 4
    app = f"""
import ctypes
usleep = ctypes.PyDLL(None).usleep  # a C call through PyDLL keeps the GIL

def app(environ, start_response):
    usleep({hold_s} * 1_000_000)
    start_response("200 OK", [])
    return [b"late"]
"""
    options = ("--request-timeout", "500ms", "--poller", model["poller"])
    with Serving(tmp_path, app, *options) as serving, Connection(serving.address) as connection:
        since = time.monotonic()
        connection.send(build())
        assert connection.response().status == 504
        assert time.monotonic() - since < hold_s - 1


def test_turns_that_end_just_at_the_deadline(serve: Serve) -> None:
    """Each request is answered with its own path, or 504, or cut; nothing else, however the two ends meet."""
    limit = 0.05
    print("seed", SEED)

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        path = environ["PATH_INFO"]
        draw = random.Random(f"{SEED} {path}")
        if path == "/end":
            start_response("200 OK", [*TEXT])
            return
        time.sleep(draw.uniform(0.6, 1.4) * limit)
        start_response("200 OK", [*TEXT, ("Content-Length", str(len(path) * 2))])
        yield path.encode()
        if draw.random() < 0.3:
            time.sleep(draw.uniform(0, 1) * limit)
        yield path.encode()

    def client(number: int) -> list[int]:
        told = []
        connection = Connection(server.address)
        for turn in range(15):
            path = f"/{number}/{turn}"
            try:
                connection.send(build(path))
                answer = connection.response()
            except (CutError, ConnectionResetError, BrokenPipeError):
                told.append(0)
            else:
                told.append(answer.status)
                assert answer.status in (200, 504)
                if answer.status == 200:
                    assert answer.body == path.encode() * 2
                    continue
                connection.closed()
            connection.reset()
            connection = Connection(server.address)
        connection.reset()
        return told

    with serve(app, threads=8, request_timeout=limit, max_stuck=64) as server, ThreadPoolExecutor(16) as pool:
        told = [status for answers in pool.map(client, range(16)) for status in answers]
        until(lambda: server.statistics()["stuck"] == 0)
        until(lambda: workers_now() == 8)
        assert fetch(server.address, "/end").status == 200
    print({status: told.count(status) for status in sorted(set(told))})
    assert {200, 504} <= set(told)


@pytest.mark.parametrize("kind", ["file", "large"])
def test_responses_that_go_back_to_the_engine_just_at_the_deadline(
    serve: Serve, tmp_path: Path, kind: str
) -> None:
    """Each ends up with the engine, by the worker's hand or by the deadline's, and with one of them only."""
    limit, clients, rounds = 0.05, 32, 25
    size = 3 * MIB  # more than a socket takes at once
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    print("seed", SEED)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/end":
            start_response("200 OK", [*TEXT])
            return [b"end"]
        draw = random.Random(f"{SEED} {environ['PATH_INFO']}")
        time.sleep(limit + draw.uniform(-0.1, 0.02) * limit)
        start_response("200 OK", [*TEXT, ("Content-Length", str(size))])
        if kind == "file":
            body: Iterable[bytes] = environ["wsgi.file_wrapper"](path.open("rb"))
            return body
        return [bytes(size)]

    def ask(number: int) -> str:
        with Connection(server.address) as connection:
            connection.send(build(f"/{number}"))
            try:
                answer = connection.response()
            except (CutError, ConnectionResetError):
                return "cut"
            assert answer.status == 504 or answer.body == bytes(size)
            return str(answer.status)

    settings = {"threads": clients, "request_timeout": limit, "max_stuck": 4 * clients}
    with serve(app, **settings) as server, ThreadPoolExecutor(clients) as pool:
        told = list(pool.map(ask, range(rounds * clients)))
        until(lambda: server.statistics()["stuck"] == 0)
        until(lambda: workers_now() == clients)
        until(lambda: server.statistics()["open"] == 0)
        assert fetch(server.address, "/end").body == b"end"
        statistics = server.statistics()
        assert statistics["queued"] == statistics["spooled"] == 0
    print({what: told.count(what) for what in sorted(set(told))})
