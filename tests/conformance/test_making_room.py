"""All connections taken: the one that has idled longest makes room for a new one; one with a request never does."""

import random
import signal
import socket
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, CutError, build
from tests.conftest import Serve
from tests.faults.serving import Serving, stop
from tests.sharing import FORK
from tests.wsgi import Environ, hello, until, wait

import halfsync

SEED = 20261129
PROMPT_S = 1.0  # that a new connection may wait, on a busy machine
PLACES = 4
FULL: dict[str, Any] = {
    "max_connections": PLACES,
    "max_children": PLACES,
    "threads": PLACES * 2,  # in the pool no connection of these tests has to wait for another
    "first_byte_timeout": 60.0,
    "head_timeout": 60.0,
}
PATIENCE_S = 1.0  # that a client may be silent before it makes room

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def connect(server: halfsync.Server, host: str = "127.0.0.1") -> Connection:
    return Connection(socket.create_connection(server.address, timeout=15, source_address=(host, 0)))


def ask(connection: Connection, target: str = "/") -> int:
    connection.send(build(target))
    return connection.response().status


def newcomer(server: halfsync.Server, stack: ExitStack, host: str = "127.0.0.1") -> Connection:
    """Connect, and be answered promptly."""
    since = time.monotonic()
    connection = stack.enter_context(connect(server, host))
    assert ask(connection) == 200
    assert time.monotonic() - since < PROMPT_S
    return connection


def idlers(server: halfsync.Server, stack: ExitStack, number: int = PLACES) -> list[Connection]:
    return [newcomer(server, stack) for _ in range(number)]


def is_open(connection: Connection) -> bool:
    """Tell whether the server has not closed an idle connection."""
    connection.socket.setblocking(False)
    try:
        return connection.socket.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        connection.socket.settimeout(15)


def test_the_longest_idle_makes_room(serve: Serve) -> None:
    with serve(hello, **FULL) as server, ExitStack() as stack:
        order = deque(idlers(server, stack))
        assert ask(order[0]) == 200
        order.rotate(-1)  # it is the one that has idled shortest now
        for _ in range(3 * PLACES):
            order.append(newcomer(server, stack))
            order.popleft().closed()
            assert all(is_open(connection) for connection in order)
        assert server.statistics()["accepted"] == 4 * PLACES
        until(lambda: server.statistics()["open"] == PLACES)


def test_many_new_connections_at_once(serve: Serve) -> None:
    with serve(hello, **FULL) as server, ExitStack() as stack:
        old = idlers(server, stack)
        late = [stack.enter_context(connect(server)) for _ in range(PLACES)]
        since = time.monotonic()
        for connection in late:
            connection.send(build())
        for connection in late:
            assert connection.response().status == 200
        assert time.monotonic() - since < 2 * PROMPT_S
        for connection in old:
            connection.closed()


def test_no_connection_is_closed_without_a_new_one(serve: Serve) -> None:
    with serve(hello, **FULL) as server, ExitStack() as stack:
        old = idlers(server, stack)
        for _ in range(3):
            assert all(ask(connection) == 200 for connection in old)
        turns = server.statistics()["turns"]
        time.sleep(0.3)
        assert all(is_open(connection) for connection in old)
        assert server.statistics()["turns"] - turns < 50, "it does not spin while it is full"


def test_a_place_that_has_become_free_is_taken_first(serve: Serve) -> None:
    with serve(hello, **FULL) as server, ExitStack() as stack:
        order = deque(idlers(server, stack))
        for _ in range(PLACES):
            order.append(newcomer(server, stack))  # so the server is full, and knows it
            order.popleft().closed()
            order.pop().socket.close()
            until(lambda: server.statistics()["open"] == PLACES - 1)
            order.append(newcomer(server, stack))
            assert all(is_open(connection) for connection in order)


class Door:
    """An application in which requests for /wait wait, and of which others are answered at once. It counts all."""

    def __init__(self) -> None:
        self.opened = FORK.Event()
        self._entered = FORK.Semaphore(0)
        self._runs = FORK.Value("i")

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Note the request, wait if it asks for that, and answer."""
        with self._runs:
            self._runs.value += 1
        if environ["PATH_INFO"] == "/wait":
            self._entered.release()
            wait(self.opened)
        environ["wsgi.input"].read()
        return hello(environ, start_response)

    @property
    def runs(self) -> int:
        """How many requests came in so far."""
        return int(self._runs.value)

    def wait_entered(self, number: int) -> None:
        """Wait until so many more requests wait inside."""
        for _ in range(number):
            assert self._entered.acquire(timeout=15), "a request did not reach the application"


def test_those_with_a_request_never_make_room(serve: Serve) -> None:
    door = Door()
    request = build(method="POST", body=b"b" * 10)
    with serve(door, **FULL) as server, ExitStack() as stack:
        running, sending, *idle = idlers(server, stack)
        running.send(build("/wait"))
        door.wait_entered(1)
        sending.send(request[:-3])
        assert all(
            ask(connection) == 200 for connection in idle
        )  # so the half request has been received as well
        late = [newcomer(server, stack) for _ in range(2 * PLACES)]
        for connection in (*idle, *late[: -len(idle)]):
            connection.closed()
        # Now no connection can make room, until a response is complete.
        busy = late[-len(idle) :]
        for connection in busy:
            connection.send(build("/wait"))
        door.wait_entered(len(busy))
        last = stack.enter_context(connect(server))
        last.send(build())
        last.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            last.response()
        last.socket.settimeout(15)
        sending.send(request[-3:])
        assert sending.response("POST").status == 200
        assert last.response().status == 200
        sending.closed()
        door.opened.set()
        for connection in (running, *busy):
            assert connection.response().status == 200


def test_a_request_whose_head_came_in_pieces_does_not_make_room(serve: Serve) -> None:
    door = Door()
    request, slow = build(method="POST", body=b"b" * 10), build("/wait")
    with serve(door, **FULL) as server, ExitStack() as stack:
        running, *sending = (stack.enter_context(connect(server)) for _ in range(PLACES))
        running.send(slow[:-3])
        time.sleep(0.05)  # so that the rest is waited for
        running.send(slow[-3:])
        door.wait_entered(1)
        for connection in sending:
            connection.send(request[:-3])
        time.sleep(PATIENCE_S)
        late = stack.enter_context(connect(server))
        late.send(build())
        late.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.response()
        late.socket.settimeout(15)
        sending[0].send(request[-3:])  # and the first that idles goes
        assert sending[0].response("POST").status == 200
        assert late.response().status == 200
        door.opened.set()
        assert running.response().status == 200
        assert ask(running) == 200


def test_the_silent_make_room_after_the_idle(serve: Serve) -> None:
    door = Door()
    with serve(door, **FULL) as server, ExitStack() as stack:
        silent = stack.enter_context(connect(server))
        until(lambda: server.statistics()["accepted"] == 1)
        slow = stack.enter_context(connect(server))
        slow.send(build()[:-3])
        idle = idlers(server, stack, PLACES - 2)
        since = time.monotonic()
        while time.monotonic() < since + PATIENCE_S:
            slow.send(b" ")  # drips
            time.sleep(0.1)
        busy = []
        for connection in idle:  # go first, though they have waited for less
            busy.append(newcomer(server, stack))
            connection.closed()
        assert is_open(silent)
        assert is_open(slow)
        for connection in busy:
            connection.send(build("/wait"))
        door.wait_entered(len(busy))
        for connection in (silent, slow):
            late = stack.enter_context(connect(server))
            assert ask(late) == 200
            connection.closed()
            late.send(build("/wait"))
            door.wait_entered(1)
            busy.append(late)
        door.opened.set()
        for connection in busy:
            assert connection.response().status == 200


def test_a_new_connection_does_not_make_room(serve: Serve) -> None:
    with serve(hello, **FULL) as server, ExitStack() as stack:
        since = time.monotonic()
        silent: list[Connection] = []
        for _ in range(PLACES):
            silent.append(stack.enter_context(connect(server)))
            until(lambda: server.statistics()["accepted"] == len(silent))
        late = stack.enter_context(connect(server))
        assert ask(late) == 200
        assert time.monotonic() - since >= PATIENCE_S
        silent[0].closed()
        assert all(is_open(connection) for connection in silent[1:])


@pytest.mark.plain_transport(
    reason="a newcomer for which there is no room gets no answer before the handshake"
)
def test_a_client_with_all_its_connections_costs_no_other_one(serve: Serve) -> None:
    with serve(hello, **FULL, max_connections_per_client=PLACES // 2) as server, ExitStack() as stack:
        others = [newcomer(server, stack, "127.0.0.2") for _ in range(PLACES // 2)]
        own = [newcomer(server, stack) for _ in range(PLACES // 2)]
        for _ in range(3 * PLACES):
            one_more = stack.enter_context(connect(server))
            one_more.send(build())
            assert one_more.response().status == 503
        assert all(is_open(connection) for connection in (*others, *own))
        newcomer(server, stack, "127.0.0.3")
        others[0].closed()
        newcomer(server, stack, "127.0.0.2")  # that has one less by now
        others[1].closed()
        assert all(is_open(connection) for connection in own)


@pytest.mark.plain_transport(
    reason="a newcomer for which there is no room gets no answer before the handshake"
)
def test_those_turned_away_make_room_first(serve: Serve) -> None:
    with serve(hello, **FULL, max_connections_per_client=1) as server, ExitStack() as stack:
        own = newcomer(server, stack)
        other = newcomer(server, stack, "127.0.0.2")
        for _ in range(PLACES):  # they get their refusal, and stay
            told = stack.enter_context(connect(server))
            assert told.response().status == 503
        newcomer(server, stack, "127.0.0.3")
        newcomer(server, stack, "127.0.0.4")
        assert is_open(own)
        assert is_open(other)


@pytest.mark.plain_transport(reason="600 handshakes take longer than a client may wait")
@pytest.mark.not_on("pool", "process", reason="so many at a time are not what it is for")
def test_hundreds_make_room_in_their_order(serve: Serve) -> None:
    number = 600  # more than the engine finds in one look
    order = list(range(number))
    random.Random(SEED).shuffle(order)
    with serve(hello, **{**FULL, "max_connections": number}) as server, ExitStack() as stack:
        idle = idlers(server, stack, number)
        for position in order:
            assert ask(idle[position]) == 200
        half = order[: number // 2]
        for position in half:
            newcomer(server, stack)
            idle[position].closed()
        assert all(is_open(idle[position]) for position in order[number // 2 :])


def test_every_request_that_ran_is_answered(serve: Serve) -> None:
    """Clients ask at the very moment at which they are closed for others."""
    door = Door()
    answered = 0
    lock = threading.Lock()

    def visit(seed: int) -> None:
        nonlocal answered
        dice = random.Random(seed)
        got = 0
        for _ in range(15):
            with connect(server) as connection, suppress(ConnectionError, CutError):
                for _ in range(dice.randrange(1, 6)):
                    connection.send(build())
                    assert connection.response().status == 200
                    got += 1
                    time.sleep(dice.random() * 0.002)
        with lock:
            answered += got

    with serve(door, **FULL) as server:
        clients = [threading.Thread(target=visit, args=(SEED + number,)) for number in range(3 * PLACES)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        until(lambda: server.statistics()["running"] == 0)
        assert door.runs == answered, f"seed {SEED}"


def test_a_request_that_has_arrived_keeps_its_connection(tmp_path: Path, model: dict[str, Any]) -> None:
    """It and a new connection are there at the server's next turn."""
    options = [
        text for name, value in (model | FULL).items() for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    with Serving(tmp_path, APP, *options) as serving, ExitStack() as stack:
        idle = [stack.enter_context(Connection(serving.address)) for _ in range(PLACES)]
        for connection in idle:
            assert ask(connection) == 200
        stop(serving.process.pid)
        idle[0].send(build())
        late = stack.enter_context(Connection(serving.address))
        late.send(build())
        serving.signal(signal.SIGCONT)
        assert idle[0].response().status == 200
        assert late.response().status == 200
        # A child that gets the order as its request comes ends with the response.
        if model["model"] != "process":
            idle.pop(1).closed()
            assert all(ask(connection) == 200 for connection in (*idle, late))
