"""The model `process`: children leave nothing behind, and an error costs one connection."""

import errno
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from wsgiref.types import StartResponse

import pytest

import halfsync
from halfsync.runtime import originals
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.faults.serving import Serving, children, thread_states
from tests.sharing import FORK
from tests.wsgi import EVENT_TIMEOUT_S, Environ, hello, until

SHORT_CONNECTIONS = int(os.environ.get("HALFSYNC_SHORT_CONNECTIONS", "1000"))
CLIENTS = 16
BURST = 200
HANDFUL = CLIENTS  # defunct children at one moment: no more than there are clients
OPTIONS = ("--model", "process")

APP = """
import atexit, os, sys
atexit.register(lambda: os.write(2, b"an exit handler ran\\n"))
print("a line of the parent's")
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/print":
        print("a line of the child's")
    if path == "/crash":
        os.abort()
    if path == "/exit":
        os._exit(7)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


def states(parent: int) -> dict[int, str]:
    """Return the children of a process and their states, as the kernel has them: Z is a zombie."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    found[int(entry.name)] = fields[0]
    return found


def zombies(parent: int) -> int:
    """Count the children that have not been reaped."""
    return Counter(states(parent).values())["Z"]


class Clients:
    """Threads that open short connections, one after the other, and count what came of them."""

    def __init__(self, address: tuple[str, int], connections: int) -> None:
        self.answered = self.failed = 0
        self._address = address
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(connections // CLIENTS,)) for _ in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, connections: int) -> None:
        for _ in range(connections):
            try:
                good = fetch(self._address, fields=[("Connection", "close")]).status == 200
            except (OSError, AssertionError):
                good = False
            with self._lock:
                self.answered += good
                self.failed += not good

    def running(self) -> bool:
        """Tell whether any still does."""
        return any(thread.is_alive() for thread in self._threads)


@pytest.mark.timeout(60 + SHORT_CONNECTIONS // 50)
@pytest.mark.parametrize("killed", [False, True], ids=["left alone", "some are killed"])
def test_no_zombie_outlives_a_turn(tmp_path: Path, killed: bool) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    kills = 0
    with Serving(tmp_path, APP, *OPTIONS) as serving:
        parent = serving.process.pid
        clients = Clients(serving.address, SHORT_CONNECTIONS)
        while clients.running():
            children = states(parent)
            assert Counter(children.values())["Z"] <= HANDFUL
            alive = [pid for pid, state in children.items() if state != "Z"]
            if killed and alive:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(alive), signal.SIGKILL)
                    kills += 1
            time.sleep(0.01)
        assert clients.answered + clients.failed == SHORT_CONNECTIONS // CLIENTS * CLIENTS
        assert clients.failed <= kills, "only a child that was killed may fail its client"
        until(lambda: not states(parent))
        assert fetch(serving.address).status == 200


def test_a_burst_of_ends_leaves_no_zombie(tmp_path: Path) -> None:
    with Serving(tmp_path, APP, *OPTIONS) as serving:
        for _ in range(3):
            with ExitStack() as stack:
                clients = [stack.enter_context(Connection(serving.address)) for _ in range(BURST)]
                for client in clients:
                    client.send(build())
                assert len({client.response().body for client in clients}) == BURST, "each has its own child"
            until(lambda: not states(serving.process.pid))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_parent_starts_no_thread_and_a_child_holds_no_descriptor_without_use(
    tmp_path: Path, workers: int
) -> None:
    several = ("--workers", str(workers)) if workers else ()
    with Serving(tmp_path, APP, *OPTIONS, *several) as serving, ExitStack() as stack:
        others = [stack.enter_context(Connection(serving.address)) for _ in range(5)]
        for other in others:
            other.send(build())
            other.response()
        client = stack.enter_context(Connection(serving.address))
        client.send(build())
        child = int(client.response().body)
        status = Path(f"/proc/{child}/status").read_text()
        parent = Path("/proc", *re.findall(r"^PPid:\t(\d+)$", status, re.MULTILINE))
        assert len(list((parent / "task").iterdir())) == 1
        held = {int(entry.name): str(entry.readlink()) for entry in Path(f"/proc/{child}/fd").iterdir()}
        mine = [link for number, link in held.items() if number > 2]
        sockets = [link for link in mine if link.startswith("socket:")]
        # Its own connection and no other; if several processes serve, the queue to hand it off through.
        assert len(sockets) == (2 if workers else 1), held
        # Two wakeup pipes for the server's end, and both ends of the pipe for its own SIGTERM; if
        # several processes serve, their scoreboard's wakeup descriptor.
        assert len(mine) - len(sockets) == (5 if workers else 4), held

        def parents() -> set[str]:
            links = set()
            for entry in (parent / "fd").iterdir():
                with suppress(OSError):
                    links.add(str(entry.readlink()))
            return links

        # It closes its copy of the connection once fork has returned, maybe after the answer.
        until(lambda: len(parents() & set(sockets)) == len(sockets) - 1)


def test_a_child_runs_no_exit_handlers_and_its_output_arrives_once(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with (tmp_path / "out").open("r+b") as out:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HALFSYNC_")}
        environment["PYTHONPATH"] = str(Path(halfsync.__file__).parent.parent)
        (tmp_path / "served.py").write_text(APP)
        process = subprocess.Popen(
            [sys.executable, "-m", "halfsync", "serve", "served:app", *OPTIONS, "-b", "127.0.0.1:0"],
            cwd=tmp_path,
            env=environment,
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        found = re.search(r"http://([0-9.]+):([0-9]+)", process.stderr.readline())
        assert found
        for _ in range(3):
            assert fetch((found[1], int(found[2])), "/print").status == 200
        process.terminate()
        told = process.stderr.read()
        assert process.wait(30) == 0
        process.stderr.close()
    assert told.count("an exit handler ran") == 1, "the parent's own, when it ended"
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines.count("a line of the parent's") == 1
    assert lines.count("a line of the child's") == 3


@pytest.mark.parametrize("end", ["/crash", "/exit"])
def test_a_child_that_ends_in_the_middle_costs_one_connection(tmp_path: Path, end: str) -> None:
    with Serving(tmp_path, APP, *OPTIONS) as serving, Connection(serving.address) as other:
        other.send(build())
        assert other.response().status == 200
        with Connection(serving.address) as client:
            client.send(build(end))
            assert client.cut() == b""
        other.send(build())
        assert other.response().status == 200
        until(lambda: len(states(serving.process.pid)) == 1)


def test_sigterm_to_a_child_ends_its_idle_connection_only(tmp_path: Path) -> None:
    with (
        Serving(tmp_path, APP, *OPTIONS) as serving,
        Connection(serving.address) as one,
        Connection(serving.address) as other,
    ):
        one.send(build())
        child = int(one.response().body)
        other.send(build())
        assert other.response().status == 200
        os.kill(child, signal.SIGTERM)
        one.closed()
        other.send(build())
        assert other.response().status == 200


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    with Serving(tmp_path, APP, *OPTIONS) as serving, Connection(serving.address) as client:
        client.send(build())
        child = int(client.response().body)
        serving.process.kill()
        client.closed()
        until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


def test_connections_past_max_children_wait_in_the_backlog(tmp_path: Path) -> None:
    with Serving(tmp_path, APP, *OPTIONS, "--max-children", "3") as serving, ExitStack() as stack:
        half = build(method="POST", body=b"half")[
            :-2
        ]  # a connection with that is not closed, as an idle one would be
        first = [stack.enter_context(Connection(serving.address)) for _ in range(3)]
        for client in first:
            client.send(build() + half)
            assert client.response().status == 200
        late = stack.enter_context(Connection(serving.address))
        late.send(build())
        late.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.response()
        late.socket.settimeout(15)
        assert len(states(serving.process.pid)) == 3
        first[0].socket.close()
        assert late.response().status == 200


FOREIGN = """
import os, subprocess, sys, time
# Children of the application's own: one has ended and waits to be reaped by its owner, one lives.
dead = subprocess.Popen(["true"])
alive = subprocess.Popen(["sleep", "60"])
os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
PARENT = os.getpid()
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{dead.pid} {alive.pid}".encode()]
"""


def test_foreign_children_are_not_reaped(tmp_path: Path) -> None:
    with Serving(tmp_path, FOREIGN, *OPTIONS) as serving:
        for _ in range(30):
            dead, alive = map(int, fetch(serving.address, fields=[("Connection", "close")]).body.split())
        until(lambda: set(states(serving.process.pid)) == {dead, alive})
        assert states(serving.process.pid)[dead] == "Z", "its owner may still ask for its exit code"
        os.kill(alive, signal.SIGKILL)


NO_BUSINESS = [
    *(signal.SIGHUP, signal.SIGUSR2, signal.SIGALRM, signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP),
    *(signal.SIGUSR1, signal.SIGPIPE, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGRTMAX),
]


def parent_of(before: set[int]) -> int:
    """Return the process that an embedded server has forked to be the parent."""
    [parent] = children(os.getpid()) - before
    return parent


@pytest.mark.parametrize("handled", [False, True], ids=["default", "handled"])
def test_signals_of_the_program_do_nothing_to_a_forked_parent(serve: Serve, handled: bool) -> None:
    """It runs nothing of the program. In its children a signal does what the program wants it to."""
    called = FORK.Value("i")

    def note(*_: object) -> None:
        called.value += 1

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        os.kill(os.getpid(), signal.SIGALRM)
        return hello(environ, start_response)

    found = {number: signal.getsignal(number) for number in NO_BUSINESS}
    before = children(os.getpid())
    try:
        if handled:
            for number in NO_BUSINESS:
                signal.signal(number, note)
        with serve(app, model="process") as server:
            parent = parent_of(before)
            for number in NO_BUSINESS:
                os.kill(parent, number)
            with Connection(server.address) as client:
                client.send(build(fields=[("Connection", "close")]))
                assert client.rest().startswith(b"HTTP/1.1 200 ") is handled
            assert called.value == handled
            assert server.ready
            assert set(thread_states(parent)) <= {"S", "R"}
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


def test_without_its_parent_a_server_is_not_ready(serve: Serve) -> None:
    before = children(os.getpid())
    with serve(hello, model="process") as server:
        assert server.ready
        os.kill(parent_of(before), signal.SIGKILL)
        until(lambda: not server.ready)
        assert server.wait(0)
    assert not server.ready


def test_a_fork_that_fails_is_answered_503_and_the_server_lives(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks = 0
    fork = os.fork

    def failing() -> int:
        nonlocal forks
        forks += 1
        if forks in (3, 4):  # the first makes the parent
            raise OSError(errno.EAGAIN, "no process")
        return fork()

    monkeypatch.setattr(originals.os, "fork", failing)
    with serve(hello, model="process") as server:
        assert fetch(server.address).status == 200
        for _ in range(2):
            refused = fetch(server.address)
            assert refused.status == 503
            assert refused.one("Retry-After")
            assert refused.one("Connection") == "close"
        assert fetch(server.address).body == b"hello, you"
        assert server.statistics()["shed"] == 2


@pytest.mark.parametrize(
    "header", [b"", b"PROXY TCP4 203.0.113.7 192.0.2.1 1 80\r\n"], ids=["peer", "proxied"]
)
def test_a_killed_child_no_longer_counts_for_its_client(tmp_path: Path, header: bytes) -> None:
    options = [*OPTIONS, "--max-connections-per-client", "2", *(["--proxy-protocol"] if header else [])]
    with Serving(tmp_path, APP, *options) as serving, ExitStack() as stack:

        def come() -> int:
            """Return the child that serves another connection, or 0 if it was refused."""
            connection = stack.enter_context(Connection(serving.address))
            connection.send(header + build())
            response = connection.response()
            return int(response.body) if response.status == 200 else 0

        children = [come(), come()]
        for _ in range(5):
            assert come() == 0
            killed = children.pop(0)
            os.kill(killed, signal.SIGKILL)
            until(lambda: killed not in states(serving.process.pid))  # noqa: B023 - it is called at once
            children.append(come())
            assert all(children)


def test_an_embedded_server_that_cannot_fork_its_parent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> int:
        raise OSError(errno.EAGAIN, "no process")

    monkeypatch.setattr(originals.os, "fork", failing)
    server = halfsync.Server(hello, bind="127.0.0.1:0", model="process")
    with pytest.raises(OSError, match="no process"):
        server.start()
    assert server.close(EVENT_TIMEOUT_S)


def test_an_application_that_never_returns_is_ended_with_its_process() -> None:
    def app(environ: Environ, start_response: object) -> list[bytes]:
        while True:
            pass

    server = halfsync.Server(app, bind="127.0.0.1:0", model="process")
    server.start()
    with socket.create_connection(server.address, timeout=15) as client:
        client.sendall(build())
        until(lambda: server.statistics()["running"] == 1)
        assert not server.close(timeout=0.2)
        assert client.recv(1) == b""
    assert server.close(EVENT_TIMEOUT_S)
