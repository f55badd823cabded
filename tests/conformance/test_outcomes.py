"""The end of each request is reported once, with its outcome and the reason, in every model."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, CutError, await_engine, build, fetch
from tests.conftest import Serve
from tests.endings import Endings
from tests.sharing import FORK
from tests.wsgi import TEXT, Environ, Gate, hello, pattern, until, wait

from halfsync.native import checks

pytestmark = pytest.mark.skipif(not checks.enabled(), reason="only checks builds keep the ends of requests")

LARGE = 64 << 20  # more than a socket and the memory of a response take
GONE = (0, "disconnected", "its client disconnected")
ENGINE = pytest.mark.only_on(
    "proactor", reason="its engine owns the queue of requests, and the clock of turns"
)


@pytest.fixture
def ends() -> Endings:
    return Endings()


def large(environ: Environ, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [*TEXT])
    return [pattern(1 << 20)] * (LARGE >> 20)


def failing(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Fail at once, or after a part of the response."""
    if environ["PATH_INFO"] == "/later":
        start_response("200 OK", [*TEXT])
        yield b"a part"
    raise ValueError("on purpose")


def missing(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer with less than was promised."""
    start_response("404 Not Found", [*TEXT, ("Content-Length", "9")])
    return [b"less"]


def test_a_response_that_was_sent_is_ok_whatever_its_status(serve: Serve, ends: Endings) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response(f"{environ['PATH_INFO'][1:]} x", [*TEXT])
        return [b"text"]

    with serve(app) as server:
        for number, status in enumerate((200, 404, 503), 1):
            assert fetch(server.address, f"/{status}").status == status
            assert ends.wait(number)[-1].what == (status, "ok", "")


@pytest.mark.parametrize(("path", "status"), [("/", 500), ("/later", 200)])
def test_an_application_that_fails_is_an_error(serve: Serve, ends: Endings, path: str, status: int) -> None:
    with serve(failing) as server, Connection(server.address) as connection:
        connection.send(build(path))
        assert connection.head().status == status
        assert ends.one().what == (status, "error", "the application failed")


def test_an_incomplete_response_is_an_error(serve: Serve, ends: Endings) -> None:
    with serve(missing) as server, Connection(server.address) as connection:
        connection.send(build())
        connection.rest()
        assert ends.one().what == (404, "error", "the application did not complete the response")


def test_a_malformed_request_is_refused(serve: Serve, ends: Endings) -> None:
    with serve(hello) as server, Connection(server.address) as connection:
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        connection.rest()
        assert ends.one().what == (400, "refused", "HTTP/1.1 without a Host field")


def test_a_client_with_too_many_connections_is_shed(serve: Serve, ends: Endings) -> None:
    with serve(hello, max_connections_per_client=1) as server, Connection(server.address) as first:
        first.send(build())
        assert first.response().status == 200
        assert ends.one().outcome == "ok"
        with Connection(server.address) as second:
            second.rest()
        assert ends.wait(2)[1].what == (503, "shed", "its client has max_connections_per_client connections")


@ENGINE
def test_a_full_queue_sheds(serve: Serve, ends: Endings) -> None:
    gate = Gate()
    with serve(gate, threads=1, queue_size=1) as server, ExitStack() as stack:
        for number in range(2):
            stack.enter_context(Connection(server.address)).send(build())
            if number == 0:
                gate.wait_entered(1)
        until(lambda: server.statistics()["queued"] == 1)
        assert fetch(server.address).status == 503
        assert ends.one().what == (503, "shed", "queue_size requests wait already")
        gate.opened.set()
        assert [ending.outcome for ending in ends.wait(3)[1:]] == ["ok", "ok"]


@ENGINE
def test_a_request_that_waits_too_long_expires(serve: Serve, ends: Endings) -> None:
    gate = Gate()
    with serve(gate, threads=1, queue_timeout=0.05) as server, Connection(server.address) as first:
        first.send(build())
        gate.wait_entered(1)
        before = time.monotonic()
        assert fetch(server.address).status == 503
        after = time.monotonic()
        ending = ends.one()
        assert ending.what == (503, "expired", "it waited for queue_timeout")
        assert ending.times["first_sent"] - ending.times["queued"] >= 0.05
        assert "taken" not in ending.times
        assert before - 0.05 <= ending.times["queued"] <= ending.times["first_sent"] <= after
        gate.opened.set()
        ends.wait(2)


@ENGINE
@pytest.mark.parametrize("begun", [False, True])
def test_a_turn_past_its_deadline_is_timed_out(serve: Serve, ends: Endings, begun: bool) -> None:
    end = FORK.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        write = start_response("200 OK", [*TEXT])
        if begun:
            write(b"a part")
        wait(end)
        yield b"the rest"

    with serve(app, request_timeout=0.1) as server, Connection(server.address) as connection:
        connection.send(build())
        assert connection.head().status == (200 if begun else 504)
        reason = "the application took longer than request_timeout"
        assert ends.one().what == (200 if begun else 504, "timed_out", reason)
        end.set()
        until(lambda: server.statistics()["stuck"] == 0)
        ends.one()  # the worker does not report it again


@pytest.mark.parametrize(
    "part", [b"GET / HT", build(method="POST", body=b"0123456789")[:-5]], ids=["head", "body"]
)
@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_client_that_leaves_before_its_request_is_complete(
    serve: Serve, ends: Endings, part: bytes, way: str
) -> None:
    with serve(hello) as server:
        connection = Connection(server.address)
        connection.send(part)
        until(lambda: server.statistics()["accepted"] == 1)
        connection.reset() if way == "reset" else connection.socket.close()
        # A reset may overtake what was sent before it.
        until(lambda: server.statistics()["open"] == 0)
        if way == "close":
            assert ends.one().what == GONE


def test_a_client_that_leaves_during_its_response(serve: Serve, ends: Endings) -> None:
    with serve(large) as server:
        connection = Connection(server.address)
        connection.send(build())
        assert connection.head().status == 200
        connection.reset()
        assert ends.one().what == (200, *GONE[1:])


def test_a_connection_on_which_nothing_was_sent_is_no_request(serve: Serve, ends: Endings) -> None:
    with serve(hello) as server:
        with Connection(server.address) as connection:
            connection.send(build())
            connection.response()
        Connection(server.address).socket.close()
        until(lambda: server.statistics()["accepted"] == 2 and server.statistics()["open"] == 0)
    assert ends.one().outcome == "ok"


@ENGINE
def test_a_request_whose_client_left_while_it_was_queued(serve: Serve, ends: Endings) -> None:
    gate = Gate()
    with serve(gate, threads=1) as server, Connection(server.address) as first:
        first.send(build())
        gate.wait_entered(1)
        connection = Connection(server.address)
        connection.send(build())
        until(lambda: server.statistics()["queued"] == 1)
        connection.reset()
        await_engine(server.address)
        gate.opened.set()
        until(lambda: server.statistics()["dropped"] == 1)
        assert sorted(ending.what for ending in ends.wait(4) if ending.status != 400) == [
            GONE,
            (200, "ok", ""),
        ]


@pytest.mark.not_on("process", reason="a child that must end is killed, and reports nothing")
def test_a_part_of_a_request_when_the_server_stops(serve: Serve, ends: Endings) -> None:
    with serve(hello, graceful_timeout=0.1) as server:
        connection = Connection(server.address)
        connection.send(b"GET / HT")
        until(lambda: server.statistics()["open"] == 1)
    connection.socket.close()
    assert ends.one().what == (0, "error", "the server stopped")


def test_a_part_of_a_request_that_makes_room(serve: Serve, ends: Endings) -> None:
    with (
        serve(hello, max_connections=1, max_children=1, threads=2, head_timeout=60) as server,
        Connection(server.address) as silent,
    ):
        silent.send(b"GET / HT")
        assert fetch(server.address).status == 200  # once the other one has been silent for a second
        whats = sorted(ending.what for ending in ends.wait(2))
        assert whats == [
            (0, "shed", "its connection was closed to make room for a new one"),
            (200, "ok", ""),
        ]


def test_every_request_is_reported_once(serve: Serve, ends: Endings, tmp_path: Path) -> None:
    chance = random.Random(20261130)
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "large").write_bytes(pattern(1 << 20))
    number = 0
    with serve(hello, static=[("/static", str(tmp_path))]) as server:
        for _ in range(40):
            with Connection(server.address) as connection:
                targets = chance.choices(["/", "/static/file", "/static/large", "/static/none"], k=5)
                wires = [build(target) for target in targets]
                if chance.random() < 0.5:
                    connection.send(b"".join(wires))
                    wires = []
                for target in targets:
                    if wires:
                        connection.send(wires.pop(0))
                    assert connection.response().status == (404 if target.endswith("none") else 200)
                    number += 1
        found = ends.wait(number)
    assert {(ending.outcome, ending.reason) for ending in found} == {("ok", "")}


# --- the timeline ---


def test_the_times_of_a_request_are_in_order(serve: Serve, ends: Endings, model: dict[str, str]) -> None:
    called = FORK.Value("d")

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        called.value = time.monotonic()
        start_response("200 OK", [*TEXT])
        yield b"first"
        time.sleep(0.1)
        yield b"last"

    with serve(app) as server:
        before = time.monotonic()
        with Connection(server.address) as connection:
            head, body = build(method="POST", body=b"0123456789").split(b"\r\n\r\n")
            connection.send(head)
            time.sleep(0.1)
            head_sent = time.monotonic()
            connection.send(b"\r\n\r\n")
            time.sleep(0.1)
            body_sent = time.monotonic()
            connection.send(body)
            assert connection.response().body == b"firstlast"
            after = time.monotonic()
        times = ends.one().times
    # In the pool the connection is queued, and taken, before its request is received.
    waits = {
        "pool": ["accepted", "queued", "taken", "first_byte"],
        "proactor": ["complete", "queued", "taken"],
    }
    order = ["accepted", "first_byte", "head", "complete", "taken", "first_sent", "last_sent"]
    if model["model"] == "pool":
        order.remove("taken")
    for some in (order, waits.get(model["model"], [])):
        assert [times[name] for name in some] == sorted(times[name] for name in some), some
    assert set(times) == {*order, *waits.get(model["model"], [])}
    assert before <= times["accepted"] and times["last_sent"] <= after
    assert max(times["complete"], times["taken"]) <= called.value <= times["first_sent"]
    assert before <= times["first_byte"] and head_sent <= times["head"] and body_sent <= times["complete"]
    assert times["last_sent"] - times["first_sent"] >= 0.05


def test_the_times_of_the_next_request_are_its_own(serve: Serve, ends: Endings) -> None:
    with serve(hello) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build())
            connection.response()
            middle = time.monotonic()
        first, second = (ending.times for ending in ends.wait(2))
    assert first["accepted"] == second["accepted"]
    assert first["last_sent"] <= second["first_byte"] + 0.01 <= second["last_sent"] + 0.01
    assert second["last_sent"] <= middle


@ENGINE
def test_the_times_of_a_response_that_the_engine_sends(serve: Serve, ends: Endings) -> None:
    with serve(large) as server, Connection(server.address) as connection:
        connection.send(build())
        time.sleep(0.1)
        connection.response()
        times = ends.one().times
    assert times["last_sent"] - times["first_sent"] >= 0.05


def test_the_connection_of_a_response_that_is_cut_ends_it(serve: Serve, ends: Endings) -> None:
    with serve(missing) as server, Connection(server.address) as connection:
        connection.send(build())
        with pytest.raises(CutError):
            connection.response()
        assert ends.one().times["last_sent"] > 0
