"""Deadlines of every phase, and the answers past a limit on connections or requests."""

import os
import resource
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.sharing import first_free_descriptor, open_files
from tests.wsgi import TEXT, Environ, Gate, hello, until

import halfsync

SHORT_S = 0.2
SLACK_S = 3.0  # what a busy machine may add; every other deadline of these servers is longer
OTHERS: dict[str, float] = dict.fromkeys(
    ("first_byte_timeout", "head_timeout", "body_timeout", "write_timeout", "keep_alive"), 60.0
)


def ended_after(connection: Connection, since: float) -> float:
    """Wait for the end of a connection that says nothing more, and return the seconds since then."""
    connection.closed()
    return time.monotonic() - since


def in_time(seconds: float) -> None:
    assert SHORT_S * 0.9 <= seconds <= SHORT_S + SLACK_S, seconds


def test_a_silent_connection_is_closed(serve: Serve) -> None:
    with (
        serve(hello, **OTHERS | {"first_byte_timeout": SHORT_S}) as server,
        Connection(server.address) as connection,
    ):
        in_time(ended_after(connection, time.monotonic()))


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1\r\nHost:", b"\r\n"])
def test_half_a_head_is_answered_408(serve: Serve, start: bytes) -> None:
    with (
        serve(hello, **OTHERS | {"head_timeout": SHORT_S}) as server,
        Connection(server.address) as connection,
    ):
        since = time.monotonic()
        connection.send(start)
        assert connection.response().status == 408
        in_time(ended_after(connection, since))


def test_the_deadline_of_a_head_is_not_put_off_by_its_bytes(serve: Serve) -> None:
    with (
        serve(hello, **OTHERS | {"head_timeout": SHORT_S}) as server,
        Connection(server.address) as connection,
    ):
        since = time.monotonic()
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        connection.socket.settimeout(0.02)
        while True:
            try:
                first = connection.socket.recv(12)
            except TimeoutError:
                connection.send(b"x")
                assert time.monotonic() - since < SHORT_S + SLACK_S
                continue
            break
        assert first == b"HTTP/1.1 408"


@pytest.mark.parametrize(
    "request_start",
    [build(method="POST", body=bytes(1000))[:-997], build(method="POST", body=bytes(3 << 20))[:-7]],
    ids=["memory", "disk"],
)
def test_half_a_body_is_answered_408(serve: Serve, tmp_path: Path, request_start: bytes) -> None:
    gate = Gate()
    with (
        serve(gate, temp_dir=str(tmp_path), **OTHERS | {"body_timeout": SHORT_S}) as server,
        Connection(server.address) as connection,
    ):
        connection.send(request_start)
        since = time.monotonic()
        assert connection.response().status == 408
        in_time(ended_after(connection, since) + SHORT_S * 0.1)
        until(lambda: server.statistics()["spooled"] == open_files(tmp_path) == 0)
    assert not gate.runs


def dribble(connection: Connection, piece: bytes, every_s: float, pieces: int) -> bytes:
    """Send a piece over and over until the server says something, and return that; b"" when it let all of them come."""
    connection.socket.settimeout(every_s)
    for _ in range(pieces):
        connection.send(piece)
        try:
            return connection.socket.recv(12)
        except TimeoutError:
            continue
    return b""


BODY = build(method="POST", body=bytes(1 << 20))
HEAD_END = BODY.index(b"\r\n\r\n") + 4


@pytest.mark.parametrize(
    "limit",
    [{"rate_window": SHORT_S, "min_body_rate": 100_000}, {"body_total_timeout": SHORT_S}],
    ids=["rate", "total"],
)
def test_a_body_that_dribbles_in_is_answered_408(serve: Serve, limit: dict[str, float]) -> None:
    with serve(hello, **OTHERS | limit) as server, Connection(server.address) as connection:
        since = time.monotonic()
        connection.send(BODY[:HEAD_END])
        assert dribble(connection, b"x", 0.02, 1000) == b"HTTP/1.1 408"
        in_time(time.monotonic() - since)


@pytest.mark.parametrize("limit", [{"min_body_rate": 0}, {"min_body_rate": 8}])
def test_a_body_that_is_merely_slow_is_served(serve: Serve, limit: dict[str, float]) -> None:
    with (
        serve(hello, **OTHERS | {"rate_window": 0.5} | limit) as server,
        Connection(server.address) as connection,
    ):
        connection.send(build(method="POST", body=bytes(60))[:-60])
        assert dribble(connection, b"x", 0.02, 59) == b""
        connection.send(b"x")
        connection.socket.settimeout(SLACK_S)
        assert connection.response().status == 200


def test_early_haste_does_not_excuse_a_dribble(serve: Serve) -> None:
    """Each window is judged alone: a first half that came at once buys nothing."""
    with (
        serve(hello, **OTHERS | {"rate_window": SHORT_S, "min_body_rate": 100_000}) as server,
        Connection(server.address) as connection,
    ):
        connection.send(BODY[: HEAD_END + (1 << 19)])
        assert dribble(connection, b"x", 0.02, 1000) == b"HTTP/1.1 408"


@pytest.mark.parametrize("requests", [1, 2])
def test_an_idle_connection_is_closed(serve: Serve, requests: int) -> None:
    with (
        serve(hello, **OTHERS | {"keep_alive": SHORT_S}) as server,
        Connection(server.address) as connection,
    ):
        for _ in range(requests):
            connection.send(build())
            assert connection.response().status == 200
        in_time(ended_after(connection, time.monotonic()) + SHORT_S * 0.1)


def test_idle_time_begins_with_the_response_and_not_with_its_request(serve: Serve) -> None:
    gate, keep_alive = Gate(), 1.0
    with (
        serve(gate, **OTHERS | {"keep_alive": keep_alive}) as server,
        Connection(server.address) as connection,
    ):
        connection.send(build("/one"))
        gate.wait_entered(1)
        sent = time.monotonic()
        until(lambda: time.monotonic() > sent + keep_alive * 1.2)
        gate.opened.set()
        assert connection.response().body == b"/one"
        since = time.monotonic()
        connection.closed()
        assert time.monotonic() - since > keep_alive * 0.9


def test_a_slow_application_meets_no_deadline(serve: Serve) -> None:
    gate = Gate()
    with serve(gate, **dict.fromkeys(OTHERS, SHORT_S)) as server, Connection(server.address) as connection:
        connection.send(build("/slow"))
        gate.wait_entered(1)
        entered = time.monotonic()
        until(lambda: time.monotonic() > entered + SHORT_S * 6)
        gate.opened.set()
        assert connection.response().body == b"/slow"


@pytest.mark.only_on("proactor", reason="elsewhere no request waits for a thread")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_request_that_waits_too_long_for_a_worker_is_answered_503(serve: Serve, method: str) -> None:
    gate = Gate()
    with (
        serve(gate, threads=1, **OTHERS | {"queue_timeout": SHORT_S}) as server,
        Connection(server.address) as running,
        Connection(server.address) as first,
        Connection(server.address) as second,
    ):
        running.send(build("/running"))
        gate.wait_entered(1)
        since = time.monotonic()
        first.send(build("/first", method=method))
        second.send(build("/second", method=method))
        for connection in (first, second):
            answer = connection.response(method)
            assert (answer.status, answer.one("Retry-After")) == (503, "1")
        in_time(time.monotonic() - since)
        assert server.statistics()["queued"] == 0
        gate.opened.set()
        assert running.response().body == b"/running"
        for connection in (running, first, second):
            connection.send(build("/again"))
            assert connection.response().body == b"/again"
    assert gate.runs == ["/running", *["/again"] * 3]


def test_how_long_a_connection_may_idle_is_announced(serve: Serve) -> None:
    with serve(hello, keep_alive=12.7) as server, Connection(server.address) as connection:
        for version in ("HTTP/1.1", "HTTP/1.0"):
            connection.send(build(version=version, fields=[("Connection", "keep-alive")]))
            answer = connection.response()
            assert (answer.one("Connection"), answer.one("Keep-Alive")) == ("keep-alive", "timeout=12")
        connection.send(build(fields=[("Connection", "close")]))
        answer = connection.response()
        assert (answer.one("Connection"), answer.one("Keep-Alive")) == ("close", None)


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.plain_transport(
    "pool", reason="a newcomer for which there is no room gets no answer before the handshake"
)
@pytest.mark.only_on("proactor", "pool", reason="nothing waits in a queue")
@pytest.mark.parametrize(
    "method",
    [
        "GET",
        pytest.param(
            "HEAD",
            marks=pytest.mark.not_on("pool", reason="connections are queued unread: no method is known yet"),
        ),
        "POST",
    ],
)
def test_a_full_queue_is_answered_503_at_once(serve: Serve, method: str) -> None:
    gate, queue_size, threads = Gate(), 3, 2
    with serve(gate, threads=threads, queue_size=queue_size) as server, ExitStack() as stack:

        def connect(target: str) -> Connection:
            connection = stack.enter_context(Connection(server.address))
            connection.send(build(target))
            return connection

        accepted = [connect(f"/{number}") for number in range(threads)]
        gate.wait_entered(threads)
        for number in range(threads, threads + queue_size):
            accepted.append(connect(f"/{number}"))
            until(partial(is_queued, server, number - threads + 1))
        with Connection(server.address) as refused:
            refused.send(build("/refused", method=method, body=b"abc" if method == "POST" else None))
            response = refused.response(method)  # while every worker is busy
            assert response.status == 503
            assert int(response.one("Retry-After") or 0) >= 1
            if server.settings.model == "pool":
                refused.closed()
            else:
                refused.send(build("/refused", fields=[("Connection", "close")]))
                assert refused.response().status == 503
                refused.closed()
        assert server.statistics()["shed"] == (1 if server.settings.model == "pool" else 2)
        gate.opened.set()
        for number, connection in enumerate(accepted):
            assert connection.response().body == f"/{number}".encode()
    assert "/refused" not in gate.runs


@pytest.mark.only_on("proactor", reason="a connection that is being served meets no queue of requests")
def test_a_pipelined_request_meets_a_full_queue(serve: Serve) -> None:
    gate = Gate()
    with serve(gate, threads=1, queue_size=1) as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(Connection(server.address)) for _ in range(3))
        first.send(build("/1") + build("/2"))
        gate.wait_entered(1)
        second.send(build("/3"))
        until(lambda: server.statistics()["queued"] == 1)
        third.send(build("/4") + build("/5"))
        assert [third.response().status for _ in range(2)] == [503, 503]
        gate.opened.set()
        assert second.response().body == b"/3"
        # The queue has room for one, and the second of the first connection is put into it when its turn comes.
        assert [first.response().body for _ in range(2)] == [b"/1", b"/2"]
        third.send(build("/6"))
        assert third.response().body == b"/6"
    assert {"/4", "/5"}.isdisjoint(gate.runs)


def is_queued(server: halfsync.Server, number: int) -> bool:
    return server.statistics()["queued"] == number


Close = Callable[[Connection], None]


@pytest.mark.parametrize("close", [lambda c: c.socket.close(), lambda c: c.reset()], ids=["close", "reset"])
def test_new_connections_wait_in_the_backlog_until_there_is_room(serve: Serve, close: Close) -> None:
    # Half a body, with which no connection is closed: see test_making_room.py for those that make room.
    post = build(method="POST", body=b"half")
    with serve(hello, max_connections=3, max_children=3, body_timeout=60.0) as server, ExitStack() as stack:
        open_ones = [stack.enter_context(Connection(server.address)) for _ in range(3)]
        for connection in open_ones:
            connection.send(build() + post[:-2])
            assert connection.response().status == 200
        newcomers = [stack.enter_context(Connection(server.address)) for _ in range(2)]
        for newcomer in newcomers:
            newcomer.send(build())
        # The admitted ones are served, and no other is admitted.
        for connection in open_ones:
            connection.send(post[-2:] + post[:-2])
            assert connection.response("POST").status == 200
        assert server.statistics()["open"] == 3
        assert server.statistics()["accepted"] == 3
        for connection, newcomer in zip(open_ones, newcomers, strict=False):
            close(connection)
            assert newcomer.response().body == b"hello, you"
        assert server.statistics()["accepted"] == 5


def tell_who_accepts(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with the id of the process that accepts connections."""
    start_response("200 OK", [*TEXT])
    return [b"%d" % (os.getppid() if environ["wsgi.multiprocess"] else os.getpid())]


def test_new_connections_wait_while_descriptors_are_short(serve: Serve) -> None:
    with serve(tell_who_accepts) as server, ExitStack() as stack:
        first, *open_ones = [stack.enter_context(Connection(server.address)) for _ in range(4)]
        for connection in (first, *open_ones):
            connection.send(build())
            pid = int(connection.response().body)
        # In the model `process` a parent is done with its descriptors of the last when it reaps the child of the first.
        first.socket.close()
        until(lambda: server.statistics()["open"] == 3)
        waiting = stack.enter_context(socket.socket())
        waiting.settimeout(15)
        turns = server.statistics()["turns"]
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free_descriptor(pid), hard))
            waiting.connect(server.address)
            newcomer = Connection(waiting)
            newcomer.send(build())
            since = time.monotonic()
            while time.monotonic() < since + SHORT_S:  # twice as long as accepting pauses
                for connection in open_ones:
                    connection.send(build())
                    assert connection.response().status == 200
                time.sleep(0.01)
            assert server.statistics()["accepted"] == 4
            assert server.statistics()["turns"] - turns < 1000, "it spins"
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert int(newcomer.response().body) == pid


@pytest.mark.not_on(
    "pool", reason="idle connections take turns on the threads, and wait for theirs in the queue"
)
def test_idle_connections_do_not_count_against_the_queue(serve: Serve) -> None:
    with serve(hello, queue_size=1, threads=1) as server, ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(Connection(server.address))
            connection.send(build())
            assert connection.response().status == 200
        assert fetch(server.address).status == 200
        assert server.statistics()["shed"] == 0


def test_a_client_that_resets_while_its_request_runs_frees_its_place(serve: Serve) -> None:
    gate = Gate()
    with serve(gate, max_connections=1, max_children=1) as server:
        with Connection(server.address) as connection:
            connection.send(build("/one"))
            gate.wait_entered(1)
            connection.reset()
        with socket.create_connection(server.address, timeout=15):
            gate.opened.set()
            until(lambda: server.statistics()["accepted"] == 2)
