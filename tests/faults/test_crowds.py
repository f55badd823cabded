"""Many clients at once on every model: all answered, slow ones among them, and past a limit what is documented."""

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

import halfsync
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.faults.serving import Serving
from tests.wsgi import EVENT_TIMEOUT_S, Environ, until

# How many connections are open at one time; HALFSYNC_CROWD=1 takes the numbers that each model is meant for.
Blocking = Literal["thread", "pool", "process"]

FULL = os.environ.get("HALFSYNC_CROWD", "0") != "0"
CROWDS = {"proactor": 15_000, "thread": 5_000, "pool": 5_000, "process": 1_000}
SMALL_CROWD = 300
MODELS: dict[str, dict[str, Any]] = {
    "proactor": {"model": "proactor", "poller": "epoll"},
    "proactor-poll": {"model": "proactor", "poller": "poll"},
    "thread": {"model": "thread"},
    "pool": {"model": "pool", "threads": 8},
    "process": {"model": "process"},
}
KEEP_ALIVE_CLIENTS = 100
REQUESTS = 20
SLOW_CLIENTS = 4

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode()]
"""


# The fixture `model` of tests/conftest.py, in each of its forms.
on_every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def echo(environ: Environ, start_response: Any) -> list[bytes]:
    """Answer with the path and the length of the body."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode() + b" %d" % len(body)]


@contextmanager
def descriptors(number: int) -> Iterator[None]:
    """Allow this process so many open files while the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, number)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def talk(address: tuple[str, int], name: int, wrong: list[str]) -> None:
    """Make requests on one connection, and a new one whenever the server closes it as it said it would."""
    connection = Connection(address)
    try:
        for turn in range(REQUESTS):
            target = f"/{name}/{turn}"
            connection.send(build(target, method="POST", body=b"b" * turn))
            response = connection.response("POST")
            if (response.status, response.body) != (200, f"{target} {turn}".encode()):
                wrong.append(f"{target}: {response.status} {response.body!r}")
            if response.one("Connection") == "close":
                connection.socket.close()
                connection = Connection(address)
    except (OSError, AssertionError) as error:
        wrong.append(f"client {name}: {error!r}")
    finally:
        connection.socket.close()


def dawdle(address: tuple[str, int], stop: threading.Event) -> None:
    """Send half a request, byte by byte."""
    with socket.create_connection(address, timeout=15) as client:
        for byte in build("/slow", fields=[("X-Slow", "y" * 10_000)]):
            if stop.wait(0.02):
                return
            client.sendall(bytes([byte]))


@on_every_model
def test_a_hundred_kept_connections_beside_slow_ones(serve: Serve) -> None:
    wrong: list[str] = []
    stop = threading.Event()
    with serve(echo) as server:
        slow = [threading.Thread(target=dawdle, args=(server.address, stop)) for _ in range(SLOW_CLIENTS)]
        clients = [
            threading.Thread(target=talk, args=(server.address, name, wrong))
            for name in range(KEEP_ALIVE_CLIENTS)
        ]
        for thread in (*slow, *clients):
            thread.start()
        for thread in clients:
            thread.join()
        stop.set()
        for thread in slow:
            thread.join()
    assert not wrong, wrong[:5]


@pytest.mark.timeout(300 if FULL else 60)
@on_every_model
def test_a_crowd_is_answered(tmp_path: Path, model: dict[str, Any]) -> None:
    number = CROWDS[model["model"]] if FULL else SMALL_CROWD
    options = [text for name, value in model.items() for text in (f"--{name}", str(value))]
    options += ["--queue-size", str(2 * number), "--max-children", str(number + 10), "--backlog", "4096"]
    options += ["--no-overload-control"]  # so many at once are an overload, if the machine is busy
    with (
        descriptors(number + 200),
        Serving(tmp_path, APP, *options, "--first-byte-timeout", "5m") as serving,
        ExitStack() as stack,
    ):
        connections = []
        for _ in range(number):
            connections.append(stack.enter_context(Connection(serving.address, timeout_s=120)))
        for name, connection in enumerate(connections):
            connection.send(build(f"/{name}"))
        for name, connection in enumerate(connections):
            response = connection.response()
            assert (response.status, response.body) == (200, f"/{name}".encode())
        assert serving.process.poll() is None


LEAVERS = 10_000 if FULL else 5_000
ANSWER_S = 1.0  # that a new client may wait while all others leave at once
BUSY_APP = """
import threading
def compute():
    while True:
        sum(range(1000))
def app(environ, start_response):
    if environ["PATH_INFO"] == "/compute":
        threading.Thread(target=compute, daemon=True).start()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


@contextmanager
def crowd(address: tuple[str, int], number: int) -> Iterator[list[socket.socket]]:
    """Open idle connections that have had a response each."""
    clients: list[socket.socket] = []
    try:
        for _ in range(number):
            client = socket.create_connection(address, timeout=60)
            client.sendall(build())
            clients.append(client)
            assert client.recv(12) == b"HTTP/1.1 200"
        yield clients
    finally:
        for client in clients:
            client.close()


@pytest.mark.timeout(300 if FULL else 120)
@pytest.mark.parametrize("target", ["/", "/compute"], ids=["idle", "busy"])
def test_many_clients_that_disconnect_at_once_delay_no_other(tmp_path: Path, target: str) -> None:
    """Each of its threads needs the GIL to end. See native/gate.pxd for why they do not all ask for it at once."""
    with (
        descriptors(LEAVERS + 200),
        Serving(tmp_path, BUSY_APP, "--model", "thread", "--keep-alive", "5m") as serving,
        crowd(serving.address, LEAVERS) as clients,
    ):
        assert threads_of(serving.process.pid) >= LEAVERS
        assert fetch(serving.address, target).status == 200
        for client in clients:
            client.close()
        for _ in range(10):
            since = time.monotonic()
            assert fetch(serving.address).status == 200
            assert time.monotonic() - since < ANSWER_S
        until(lambda: threads_of(serving.process.pid) < 20, timeout_s=120)


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


@pytest.mark.timeout(300 if FULL else 120)
def test_a_crowd_that_asks_at_once_is_answered(tmp_path: Path) -> None:
    with (
        descriptors(LEAVERS + 200),
        Serving(tmp_path, APP, "--model", "thread", "--keep-alive", "5m") as serving,
        crowd(serving.address, LEAVERS) as clients,
    ):
        for client in clients:
            client.recv(4096)
        since = time.monotonic()
        for client in clients:
            client.sendall(build())
        for client in clients:
            assert client.recv(12) == b"HTTP/1.1 200"
        # Most of it is work: at the rate of a few clients, and not of thousands of threads that wake each other.
        assert time.monotonic() - since < LEAVERS / 200


def test_silent_clients_do_not_hold_the_threads_of_a_pool(serve: Serve) -> None:
    with serve(echo, model="pool", threads=2) as server, ExitStack() as stack:
        idle = [stack.enter_context(Connection(server.address)) for _ in range(6)]
        for client in idle:
            client.send(build("/idle"))
            assert client.response().status == 200
        since = time.monotonic()
        for _ in range(5):
            assert fetch(server.address).status == 200
        assert time.monotonic() - since < 1.0
        until(lambda: server.statistics()["open"] <= 2)  # those that were silent for a second made room


def test_a_full_queue_of_a_pool_is_answered_503_at_once(serve: Serve) -> None:
    entered, go = threading.Semaphore(0), threading.Event()

    def app(environ: Environ, start_response: Any) -> list[bytes]:
        entered.release()
        assert go.wait(15)
        return echo(environ, start_response)

    with serve(app, model="pool", threads=2, queue_size=3) as server, ExitStack() as stack:
        served = []
        for number in range(5):
            served.append(stack.enter_context(Connection(server.address)))
            served[-1].send(build(f"/{number}"))
            if number < 2:
                assert entered.acquire(timeout=15)
        until(lambda: server.statistics()["queued"] == 3)
        for _ in range(300):  # more than the accepting thread keeps of those that linger
            since = time.monotonic()
            refused = fetch(server.address)
            assert refused.status == 503
            assert refused.one("Retry-After")
            assert time.monotonic() - since < 1.0
        silent = [stack.enter_context(socket.create_connection(server.address, timeout=15)) for _ in range(3)]
        for told in silent:
            assert told.recv(12) == b"HTTP/1.1 503"
        go.set()
        for number, client in enumerate(served):
            assert client.response().body == f"/{number} 0".encode()
        assert server.statistics()["shed"] == 303


def test_a_thread_that_cannot_be_started_is_answered_503(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    failing = threading.Event()

    def start_or_fail(thread: threading.Thread) -> None:
        if failing.is_set() and thread.name == "halfsync-connection":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_fail)
    with serve(echo, model="thread") as server, Connection(server.address) as first:
        first.send(build("/first"))
        assert first.response().status == 200
        failing.set()
        for _ in range(3):
            refused = fetch(server.address)
            assert refused.status == 503
            assert refused.one("Retry-After")
        failing.clear()
        assert fetch(server.address, "/again").body == b"/again 0"
        first.send(build("/first"))
        assert first.response().status == 200


@pytest.mark.parametrize("name", ["thread", "pool"])
def test_a_model_that_cannot_start_leaves_nothing_behind(
    name: Blocking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    server = halfsync.Server(echo, bind="127.0.0.1:0", model=name)
    before = set(Path("/proc/self/fd").iterdir())
    monkeypatch.setattr(threading.Thread, "start", failing)
    with pytest.raises(RuntimeError, match="new thread"):
        server.start()
    assert len(set(Path("/proc/self/fd").iterdir()) - before) <= 1  # the pool's call
    assert server.close(EVENT_TIMEOUT_S)


def test_connections_past_max_connections_wait_in_the_backlog(serve: Serve) -> None:
    with serve(echo, model="thread", max_connections=2) as server, ExitStack() as stack:
        half = build(method="POST", body=b"half")[
            :-2
        ]  # a connection with that is not closed, as an idle one would be
        first = [stack.enter_context(Connection(server.address)) for _ in range(2)]
        for client in first:
            client.send(build() + half)
            assert client.response().status == 200
        late = stack.enter_context(Connection(server.address))
        late.send(build("/late"))
        late.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.response()
        late.socket.settimeout(15)
        first[0].socket.close()
        assert late.response().body == b"/late 0"


def test_a_full_pool_serves_others_beside_silent_clients(serve: Serve) -> None:
    with serve(echo, model="pool", threads=1, queue_size=2) as server, ExitStack() as stack:
        silent = stack.enter_context(socket.create_connection(server.address, timeout=15))
        until(lambda: server.statistics()["accepted"] == 1)
        since = time.monotonic()
        for _ in range(5):
            assert fetch(server.address).status == 200
        assert time.monotonic() - since < 5.0
        silent.sendall(build("/late"))
        assert silent.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("name", ["thread", "pool", "process"])
def test_a_drain_works_while_a_child_of_the_program_lives(name: Blocking) -> None:
    server = halfsync.Server(echo, bind="127.0.0.1:0", model=name)
    server.start()
    reader, writer = os.pipe()
    child = os.fork()  # it holds every descriptor of the program, as one made by multiprocessing does
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        with Connection(server.address) as client:
            client.send(build())
            assert client.response().status == 200
            server.drain()
            client.closed()
            assert server.wait(15)
        assert server.close(EVENT_TIMEOUT_S)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)
