"""Connections that survive the process that served them: handed off by one server, adopted by another.

Two servers, in one process, share a listener and the queue of handed-off connections as serving processes do. A test
knows by the answers which of them served: each application answers with its server's name first.
"""

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.client import Connection, Response, build, build_chunked
from tests.conformance.conftest import MODELS
from tests.conftest import Serve
from tests.seated import make_server
from tests.sharing import FORK
from tests.wsgi import EVENT_TIMEOUT_S, TEXT, App, Environ, until, wait

import halfsync

pytestmark = pytest.mark.without_tls(reason="a TLS connection stays in its process")

WAIT_S = 15.0
CROWD = 500
ROUNDS = 20
PAIRS = [
    ("proactor", "thread"),
    ("thread", "proactor-poll"),
    ("proactor-poll", "proactor"),
    ("process", "pool"),
    ("pool", "process"),
]


class Door:
    """What requests for /door wait at, in whatever process they run."""

    def __init__(self) -> None:
        self._opened = FORK.Event()
        self._reached = FORK.Semaphore(0)

    def stand(self) -> None:
        """Tell the test that a request is here, and wait until it may go on."""
        self._reached.release()
        wait(self._opened)

    def wait_reached(self) -> None:
        """Wait until a request is here."""
        assert self._reached.acquire(timeout=WAIT_S), "a request did not reach the door"

    def open(self) -> None:
        """Let the requests that have arrived go on."""
        self._opened.set()


def named(name: str, door: Door | None = None) -> App:
    """Return an application that answers with a server's name, the path, the client's port and the body's length."""

    def answer(environ: Environ, start_response: Any) -> list[bytes]:
        length = len(environ["wsgi.input"].read())
        path = environ["PATH_INFO"]
        if door is not None and path == "/door":
            door.stand()
        start_response("200 OK", [*TEXT])
        return [f"{name} {path} {environ['REMOTE_ADDR']}:{environ['REMOTE_PORT']} {length}".encode()]

    return answer


class Stage:
    """A listener and a queue of connections to adopt, and the servers on them."""

    def __init__(self, serve: Serve, stack: ExitStack) -> None:
        self._serve = serve
        self._stack = stack
        self.listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        self.listener.setblocking(False)
        self.reader, self.writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(self.reader)
        stack.enter_context(self.writer)
        self.address: tuple[str, int] = self.listener.getsockname()

    @property
    def handover(self) -> tuple[int, int]:
        """The queue that the servers share."""
        return self.reader.fileno(), self.writer.fileno()

    def bind(self) -> str:
        """Return the listener that they share, which the server closes in the end."""
        return f"fd://{os.dup(self.listener.fileno())}"

    def start(self, app: Any, **settings: Any) -> halfsync.Server:
        """Start a server, which ends with the test."""
        settings = {"handover": self.handover, **settings}
        if "bind" not in settings:
            settings["bind"] = self.bind()
        return self._stack.enter_context(self._serve(app, **settings))

    def connect(self) -> Connection:
        """Connect a client, which is closed at the end of the test."""
        return self._stack.enter_context(Connection(self.address))

    def connect_to(self, listener: socket.socket) -> Connection:
        """Connect a client to a listener of the test's own."""
        return self._stack.enter_context(Connection(listener.getsockname()))


@pytest.fixture
def stage(serve: Serve) -> Iterator[Stage]:
    """Return a listener and a queue, for servers to share."""
    with ExitStack() as stack:
        yield Stage(serve, stack)


def ask(connection: Connection, target: str = "/") -> str:
    """Send a request; return the name of the server that has answered it."""
    connection.send(build(target))
    return answered(connection, target)


def answered(connection: Connection, target: str = "/", length: int = 0) -> str:
    """Read a response as `named` makes it, on a connection that stays; return the name of its server."""
    response = connection.response()
    assert response.status == 200, response
    assert response.one("Connection") != "close"
    name, path, address, size = response.body.decode().split()
    assert (path, int(size)) == (target, length)
    host, port = connection.socket.getsockname()
    assert address == f"{host}:{port}", "the client has become another"
    return name


def gone(server: halfsync.Server) -> None:
    """Wait until a server that leaves has nothing left, and close it."""
    assert server.wait(WAIT_S), server.statistics()
    until(lambda: server.statistics()["open"] == 0)
    assert server.close(EVENT_TIMEOUT_S)


def test_an_idle_connection_continues_in_another_process(stage: Stage) -> None:
    first = stage.start(named("a"))
    used, silent = stage.connect(), stage.connect()
    assert [ask(used) for _ in range(3)] == ["a"] * 3
    until(lambda: first.statistics()["accepted"] == 2)
    second = stage.start(named("b"))
    first.hand_off()
    assert not first.ready
    gone(first)
    assert [ask(used) for _ in range(3)] == ["b"] * 3
    assert [ask(silent) for _ in range(3)] == ["b"] * 3
    assert ask(stage.connect()) == "b"
    assert first.statistics()["handed_off"] == 2
    assert (second.statistics()["adopted"], second.statistics()["accepted"]) == (2, 1)
    assert second.statistics()["open"] == 3


@pytest.mark.parametrize("split", [1, 20, -1])
def test_a_head_may_be_split_between_two_servers(stage: Stage, split: int) -> None:
    first = stage.start(named("a"))
    connection = stage.connect()
    head = build("/second", fields=[("X-Long", "x" * 5000)])
    connection.send(build("/first") + head[:split])
    assert answered(connection, "/first") == "a"
    stage.start(named("b"))
    first.hand_off()
    gone(first)
    connection.send(head[split:])
    assert answered(connection, "/second") == "b"
    assert ask(connection) == "b"


def test_a_silent_connection_may_have_sent_a_part_of_its_first_head(stage: Stage) -> None:
    first = stage.start(named("a"))
    connection = stage.connect()
    connection.send(b"GET /first HT")
    until(lambda: first.statistics()["accepted"] == 1)
    stage.start(named("b"))
    first.hand_off()
    gone(first)
    connection.send(b"TP/1.1\r\nHost: example.com\r\n\r\n")
    assert answered(connection, "/first") == "b"


@pytest.mark.plain_transport(reason="a connection whose transport holds bytes stays")
def test_running_requests_finish_and_pipelined_ones_are_handed_off(stage: Stage) -> None:
    door = Door()
    first = stage.start(named("a", door))
    connection = stage.connect()
    connection.send(
        build("/door") + build_chunked([b"abc", b"defg"], target="/behind") + build("/last") + b"GET /pa"
    )
    door.wait_reached()
    stage.start(named("b"))
    first.hand_off()
    assert not first.wait(0)
    door.open()
    assert answered(connection, "/door") == "a"
    gone(first)
    assert answered(connection, "/behind", 7) == "b"
    assert answered(connection, "/last") == "b"
    connection.send(b"rt HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert answered(connection, "/part") == "b"


def test_a_pipeline_is_answered_in_order_by_both(stage: Stage) -> None:
    first = stage.start(named("a"))
    connection = stage.connect()
    connection.send(b"".join(build(f"/{number}") for number in range(300)))
    assert answered(connection, "/0") == "a"
    stage.start(named("b"))
    first.hand_off()
    names = [answered(connection, f"/{number}") for number in range(1, 300)]
    gone(first)
    assert names == sorted(names)
    assert ask(connection) == "b"


def test_more_than_a_record_holds_is_served_before_the_hand_off(stage: Stage) -> None:
    limits = {"max_head": 256 << 10, "max_field": 60 << 10}
    first = stage.start(named("a"), **limits)
    connection = stage.connect()
    head = build("/long", fields=[("X-Long", "x" * (50 << 10))] * 4)
    connection.send(build("/first") + head[: 150 << 10])
    assert answered(connection, "/first") == "a"
    stage.start(named("b"), **limits)
    first.hand_off()
    connection.send(head[150 << 10 :])
    assert answered(connection, "/long") in (
        "a",
        "b",
    )  # b: little of it had been read when it came to leaving
    gone(first)
    assert ask(connection) == "b"


@pytest.mark.parametrize("expect", [False, True], ids=["plain", "expect"])
def test_a_body_under_way_is_finished(stage: Stage, expect: bool) -> None:
    first = stage.start(named("a"))
    connection = stage.connect()
    head = b"POST /body HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10\r\n"
    if expect:
        connection.send(head + b"Expect: 100-continue\r\n\r\n")
        assert connection.head().status == 100
    else:
        connection.send(build("/first") + head + b"\r\n12345")
        assert answered(connection, "/first") == "a"
    stage.start(named("b"))
    first.hand_off()
    assert not expect or not first.wait(0)
    connection.send(b"0123456789" if expect else b"67890")
    server = answered(connection, "/body", 10)
    assert server == "a" or not expect  # otherwise it may not have been examined before the hand-off
    gone(first)
    assert ask(connection) == "b"


def test_a_connection_with_close_is_closed(stage: Stage) -> None:
    door = Door()
    first = stage.start(named("a", door))
    connection = stage.connect()
    connection.send(build("/door", fields=[("Connection", "close")]))
    door.wait_reached()
    stage.start(named("b"))
    first.hand_off()
    door.open()
    response = connection.response()
    assert (response.status, response.one("Connection")) == (200, "close")
    connection.closed()
    gone(first)
    assert first.statistics()["handed_off"] == 0


def test_a_refused_connection_is_not_handed_off(stage: Stage) -> None:
    first = stage.start(named("a"))
    connection = stage.connect()
    connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + build("/never"))
    assert connection.response().status == 400
    stage.start(named("b"))
    first.hand_off()
    connection.closed()
    gone(first)
    assert first.statistics()["handed_off"] == 0


def test_a_static_file_is_answered_by_both(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    settings = {"static": f"/static={tmp_path}"}
    first = stage.start(named("a"), **settings)
    connection = stage.connect()
    connection.send(build("/static/file") * 30)
    stage.start(named("b"), **settings)
    first.hand_off()
    for _ in range(30):
        response = connection.response()
        assert (response.status, len(response.body)) == (200, 100_000)
        assert response.one("Connection") != "close"
    gone(first)
    assert ask(connection) == "b"


def told(response: Response) -> tuple[str, str]:
    """Return the server and the client that a response names."""
    name, _, client, _ = response.body.decode().split()
    return name, client


def test_the_client_of_a_proxy_header_is_handed_off(stage: Stage) -> None:
    settings = {"proxy_protocol": True, "proxy_allow_ips": "127.0.0.1"}
    proxied = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n"
    first = stage.start(named("a"), **settings)
    used, greeted, late, split = (stage.connect() for _ in range(4))
    used.send(proxied + build())
    assert told(used.response()) == ("a", "192.0.2.7:4711")
    greeted.send(proxied)
    split.send(proxied[:20])
    until(lambda: first.statistics()["accepted"] == 4)
    second = stage.start(named("b"), **settings)
    first.hand_off()
    used.send(build())
    assert told(used.response())[1] == "192.0.2.7:4711"
    greeted.send(build())
    assert told(greeted.response())[1] == "192.0.2.7:4711"
    late.send(proxied + build())
    assert told(late.response())[1] == "192.0.2.7:4711"
    split.send(proxied[20:] + build())
    assert told(split.response())[1] == "192.0.2.7:4711"
    gone(first)
    for connection in (used, greeted, late, split):
        connection.send(build())
        assert told(connection.response()) == ("b", "192.0.2.7:4711")
    assert second.statistics()["adopted"] == 4


@pytest.mark.only_on("proactor", reason="a thread or a process each is more than a test should ask for")
def test_a_crowd_of_idle_connections_moves_at_once(stage: Stage) -> None:
    first = stage.start(named("a"))
    crowd = [stage.connect() for _ in range(CROWD)]
    for connection in crowd:
        assert ask(connection) == "a"
    second = stage.start(named("b"))
    first.hand_off()
    gone(first)
    for connection in crowd:
        assert ask(connection) == "b"
    assert (first.statistics()["handed_off"], second.statistics()["adopted"]) == (CROWD, CROWD)


def ask_all(connections: list[Connection]) -> dict[Connection, str]:
    """Let all send a request at once; return the answers, once none has come for much longer than a request takes."""
    by_socket = {connection.socket: connection for connection in connections}
    for connection in connections:
        connection.send(build())
    names: dict[Connection, str] = {}
    while ready := select.select(list(by_socket), [], [], 0.5)[0]:
        for one in ready:
            connection = by_socket.pop(one)
            names[connection] = answered(connection)
    return names


def test_what_the_queue_does_not_take_is_served_on(stage: Stage) -> None:
    stage.writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least there is
    # A thread for each: none may wait for a second, after which a pool closes idle connections.
    first = stage.start(named("a"), threads=20)
    crowd = [stage.connect() for _ in range(20)]
    for connection in crowd:
        assert ask(connection) == "a"
    first.hand_off()
    until(lambda: first.statistics()["handed_off"] > 0)
    names = ask_all(crowd)
    assert 0 < len(names) < len(crowd)
    assert set(names.values()) == {"a"}
    assert set(ask_all(list(names)).values()) == {"a"}
    assert not first.wait(0)
    second = stage.start(named("b"), threads=20)
    for connection in crowd:
        if connection not in names:
            assert answered(connection) == "b"
    gone(first)
    for connection in crowd:
        assert ask(connection) == "b"
    assert second.statistics()["adopted"] == len(crowd)


def test_a_server_that_hands_off_may_drain(stage: Stage) -> None:
    stage.writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    door = Door()
    first = stage.start(named("a", door), threads=4)
    crowd = [stage.connect() for _ in range(20)]
    for connection in crowd:
        assert ask(connection) == "a"
    running = stage.connect()
    running.send(build("/door"))
    door.wait_reached()
    first.hand_off()
    until(lambda: first.statistics()["handed_off"] > 0)
    assert not first.wait(0)
    first.drain()
    door.open()
    response = running.response()
    assert (response.status, response.body.split()[0]) == (200, b"a")
    gone(first)
    stage.start(named("b"))
    running.closed()
    adopted = [connection for connection in crowd if ends_or_answers(connection)]
    assert len(adopted) == first.statistics()["handed_off"] < len(crowd)


def ends_or_answers(connection: Connection) -> bool:
    """Tell whether a connection answers; else it must have ended."""
    connection.socket.setblocking(True)
    try:
        connection.send(build())
        return bool(connection.response())
    except (AssertionError, ConnectionError):
        return False


def test_no_connection_is_adopted_without_room_for_it(stage: Stage) -> None:
    first = stage.start(named("a"))
    crowd = [stage.connect() for _ in range(5)]
    for connection in crowd:
        assert ask(connection) == "a"
    first.hand_off()
    gone(first)  # they wait in the queue
    second = stage.start(named("b"), max_connections=2, max_children=2, threads=2)
    waiting = {connection.socket: connection for connection in crowd}
    for connection in crowd:
        connection.send(build())
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], WAIT_S)
        assert ready, "no client is answered"
        for one in ready:
            connection = waiting.pop(one)
            assert answered(connection) == "b"
            one.shutdown(socket.SHUT_RDWR)  # a forked process may hold the socket open too
    assert second.statistics()["adopted"] == len(crowd)


@pytest.mark.usefixtures("serve")  # whose tests must leave nothing behind
def test_without_a_process_to_adopt_it_drains(model: dict[str, Any]) -> None:
    door = Door()
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = make_server(
        named("a", door), bind="127.0.0.1:0", handover=(reader.fileno(), writer.fileno()), **model
    )
    reader.close()  # before a start that may fork
    writer.close()
    with server, Connection(server.address) as idle, Connection(server.address) as running:
        assert ask(idle) == "a"
        running.send(build("/door"))
        door.wait_reached()
        server.hand_off()
        idle.closed()
        assert not server.wait(0)
        door.open()
        assert answered(running, "/door") == "a"
        running.closed()
        gone(server)
        # A connection that is sent before the last reading end is closed is lost with it, as any idle one.
        assert server.statistics()["handed_off"] <= 1


def test_without_a_queue_handing_off_is_draining(serve: Serve) -> None:
    with serve(named("a")) as server, Connection(server.address) as idle:
        assert ask(idle) == "a"
        server.hand_off()
        idle.closed()
        gone(server)


def test_a_server_that_hands_off_accepts_no_more_and_leaves_the_backlog_to_others(stage: Stage) -> None:
    first = stage.start(named("a"))
    first.hand_off()
    gone(first)
    late = stage.connect()
    late.send(build())
    assert stage.start(named("b")).ready
    assert answered(late) == "b"


def test_a_client_that_disconnects_during_a_hand_off_has_no_effect(stage: Stage) -> None:
    first = stage.start(named("a"))
    crowd = [stage.connect() for _ in range(9)]
    for connection in crowd:
        assert ask(connection) == "a"
    for connection in crowd[:3]:
        connection.socket.shutdown(socket.SHUT_WR)
    first.hand_off()
    gone(first)
    for connection in crowd[3:6]:
        connection.reset()
    second = stage.start(named("b"))
    for connection in crowd[6:]:
        assert ask(connection) == "b"
    until(lambda: second.statistics()["open"] == 3)


def test_a_draining_server_answers_connections_that_wait_to_be_adopted(stage: Stage) -> None:
    first = stage.start(named("a"))
    asking, idle = [stage.connect() for _ in range(3)], stage.connect()
    for connection in [*asking, idle]:
        assert ask(connection) == "a"
    first.hand_off()
    gone(first)
    for connection in asking:
        connection.send(build())
    second = stage.start(named("b"))
    second.drain()
    for connection in asking:
        response = connection.response()
        assert (response.status, response.body.split()[0]) == (200, b"b")
        connection.closed()
    idle.closed()
    gone(second)


def test_what_is_no_record_is_dropped_and_the_next_is_adopted(stage: Stage) -> None:
    first = stage.start(named("a"))
    connection = stage.connect()
    assert ask(connection) == "a"
    stray, client = socket.socketpair()
    with client, stray:
        stage.writer.send(b"no record")
        socket.send_fds(stage.writer, [b"no record"], [stray.fileno()])
        stray.close()
        second = stage.start(named("b"))
        first.hand_off()
        gone(first)
        assert ask(connection) == "b"
        client.settimeout(WAIT_S)
        assert client.recv(1) == b"", "its descriptor is still open somewhere"
    assert second.statistics()["adopted"] == 1


def test_without_proxy_protocol_a_connection_that_must_send_a_header_is_not_adopted(stage: Stage) -> None:
    first = stage.start(named("a"), proxy_protocol=True, proxy_allow_ips="127.0.0.1")
    greeted, late = stage.connect(), stage.connect()
    greeted.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n" + build())
    assert told(greeted.response()) == ("a", "192.0.2.7:4711")
    until(lambda: first.statistics()["accepted"] == 2)
    first.hand_off()
    gone(first)
    stage.start(named("b"))
    greeted.send(build())
    assert told(greeted.response()) == ("b", "192.0.2.7:4711")
    late.closed()


@pytest.mark.only_on("proactor", reason="the test brings its own models")
@pytest.mark.parametrize(("leaver", "adopter"), PAIRS)
def test_any_model_adopts_from_any(stage: Stage, leaver: str, adopter: str) -> None:
    first = stage.start(named("a"), **MODELS[leaver])
    used, partial = stage.connect(), stage.connect()
    assert ask(used) == "a"
    partial.send(build("/first") + b"GET /par")
    assert answered(partial, "/first") == "a"
    stage.start(named("b"), **MODELS[adopter])
    first.hand_off()
    gone(first)
    assert ask(used) == "b"
    partial.send(b"tial HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert answered(partial, "/partial") == "b"


class Echo:
    """A protocol that is not HTTP."""

    def received(self, data: bytes) -> bytes:
        """Send it back."""
        return data

    def closed(self) -> None:
        """Keep nothing."""


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
def test_a_stream_is_not_handed_off(stage: Stage) -> None:
    first = stage.start(Echo, stream=True)
    connection = stage.connect()
    connection.send(b"hello")
    assert connection.socket.recv(5) == b"hello"
    second = stage.start(Echo, stream=True)
    first.hand_off()
    connection.closed()
    gone(first)
    assert second.statistics()["adopted"] == 0


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
def test_a_stream_server_that_hands_off_accepts_the_backlog_that_no_other_process_has(stage: Stage) -> None:
    first = stage.start(Echo, stream=True, max_connections=1, max_children=1, threads=1)
    connection = stage.connect()
    connection.send(b"hello")
    assert connection.some(5) == b"hello"
    late = stage.connect()  # it stays in the backlog: no stream makes room
    late.send(b"later")
    first.hand_off([0])
    connection.closed()
    assert late.some(5) == b"later"
    gone(first)


class Load:
    """Clients that send requests all the time, on connections that stay or on new ones, until they are stopped."""

    def __init__(self, address: tuple[str, int], keeping: int, renewing: int) -> None:
        self.failures: list[str] = []
        self.counts = [0] * (keeping + renewing)
        self._stop = threading.Event()
        self._address = address
        self._threads = [
            threading.Thread(target=self._run, args=(number, self._keep if number < keeping else self._renew))
            for number in range(keeping + renewing)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int, ask_one: Callable[[int], None]) -> None:
        try:
            ask_one(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must fail of it
            self.failures.append(f"client {number}: {error!r}")

    def _keep(self, number: int) -> None:
        with Connection(self._address) as connection:
            while not self._stop.is_set():
                if self.counts[number] % 10 == 9:
                    connection.send(build("/first") + build("/second"))
                    answered(connection, "/first")
                    answered(connection, "/second")
                else:
                    ask(connection, f"/{self.counts[number]}")
                self.counts[number] += 1

    def _renew(self, number: int) -> None:
        while not self._stop.is_set():
            with Connection(self._address) as connection:
                ask(connection)
            self.counts[number] += 1

    def moves_on(self, by: int) -> None:
        """Wait until every client has been answered so many more times."""
        goals = [count + by for count in self.counts]
        until(lambda: self.failures or all(map(int.__ge__, self.counts, goals)))

    def stop(self) -> None:
        """End all clients."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_servers_take_turns_under_load_and_no_request_fails(stage: Stage) -> None:
    current = stage.start(named("0"))
    load = Load(stage.address, keeping=6, renewing=2)
    handed_off = 0
    try:
        for turn in range(ROUNDS):
            load.moves_on(2)
            following = stage.start(named(str(turn + 1)))
            current.hand_off()
            gone(current)
            handed_off += current.statistics()["handed_off"]
            current = following
            assert not load.failures, load.failures
        load.moves_on(2)
    finally:
        load.stop()
    assert not load.failures, load.failures
    assert handed_off >= ROUNDS


def listening(stack: ExitStack, number: int) -> list[socket.socket]:
    """Open some listeners."""
    made = [stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64)) for _ in range(number)]
    for sock in made:
        sock.setblocking(False)
    return made


def binds(*listeners: socket.socket) -> list[str]:
    return [f"fd://{os.dup(listener.fileno())}" for listener in listeners]


def port_of(environ: Environ, start_response: Any) -> list[bytes]:
    start_response("200 OK", [*TEXT])
    return [environ["SERVER_PORT"].encode()]


def ask_port(connection: Connection) -> int:
    connection.send(build())
    response = connection.response()
    assert response.one("Connection") != "close"
    return int(response.body)


def test_a_connection_keeps_its_port_if_the_listeners_differ(stage: Stage) -> None:
    """By two servers: the first has another order, the second lacks one of them."""
    with ExitStack() as stack:
        one, two, new = listening(stack, 3)
        first = stage.start(port_of, bind=binds(one, two))
        kept = [(stage.connect_to(sock), sock.getsockname()[1]) for sock in (one, two) for _ in range(2)]
        for connection, port in kept:
            assert ask_port(connection) == port
        current = first
        for others in ((two, new, one), (new, two), (one, two)):
            following = stage.start(port_of, bind=binds(*others))
            current.hand_off()
            gone(current)
            for connection, port in kept:
                assert ask_port(connection) == port
            current = following


@pytest.mark.parametrize("alone", [[0], [1], [0, 1]])
def test_a_server_that_hands_off_accepts_the_backlog_that_no_other_process_has(
    stage: Stage, alone: list[int]
) -> None:
    """The backlog of every other listener is left to others."""
    door = Door()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/door":
            door.stand()
        return port_of(environ, start_response)

    with ExitStack() as stack:
        listeners = listening(stack, 2)
        ports = [sock.getsockname()[1] for sock in listeners]
        # Two requests that run take all places, so newcomers stay in the backlog.
        first = stage.start(app, bind=binds(*listeners), max_connections=2, max_children=2, threads=2)
        running = [stage.connect_to(sock) for sock in listeners]
        for connection in running:
            connection.send(build("/door"))
            door.wait_reached()
        late = [
            (stage.connect_to(sock), port)
            for sock, port in zip(listeners, ports, strict=True)
            for _ in range(3)
        ]
        for connection, _ in late:
            connection.send(build())
        shared = [sock for position, sock in enumerate(listeners) if position not in alone]
        second = stage.start(port_of, bind=binds(*shared or [stage.listener]))
        first.hand_off(alone)
        door.open()
        for connection, port in late:
            assert int(connection.response().body) == port
        for connection, port in zip(running, ports, strict=True):
            assert int(connection.response().body) == port
        gone(first)
        # One more may have been accepted between two looks at the order to leave.
        assert first.statistics()["accepted"] - 2 - 3 * len(alone) in (0, 1)
        for connection, port in [*late, *zip(running, ports, strict=True)]:
            assert ask_port(connection) == port
        assert second.statistics()["open"] == 8
