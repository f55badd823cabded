"""The public methods of a server in every order, with every limit, interrupted, on every model."""

import itertools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import halfsync
from halfsync.runtime import originals
from tests.client import Connection, build, fetch
from tests.leaks import held, leaked
from tests.wsgi import EVENT_TIMEOUT_S, Environ, hello, interrupt, until

MODELS = ("proactor", "thread", "pool", "process")
WRONG_LIMITS = (float("nan"), "1", b"1", True, [1], 1j, object())
ENDLESS = (None, float("inf"), 1e300, 10**400, Decimal("inf"), Fraction(10**400))


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fail a test that leaves a descriptor, a thread, a process or a native object behind."""
    before = held()
    yield
    assert not leaked(before)


def make(name: str, app: Any = hello, **settings: Any) -> halfsync.Server:
    defaults: dict[str, Any] = {"bind": "127.0.0.1:0", "threads": 2, "model": name}
    return halfsync.Server(app, **(defaults | settings))


def listens(server: halfsync.Server) -> bool:
    try:
        socket.create_connection(server.address, timeout=5).close()
    except ConnectionError:
        return False
    return True


class Oracle:
    """A model of the server's states, in a few lines."""

    def __init__(self) -> None:
        self.state, self.closing_keepalives, self.started = "made", False, False

    def start(self, server: halfsync.Server) -> None:
        if self.state == "made":
            server.start()
            self.state, self.started = "serving", True
            return
        with pytest.raises(RuntimeError, match="only once"):
            server.start()

    def drain(self, server: halfsync.Server) -> None:
        server.drain()
        self.state = "closed" if self.state == "closed" else "ending"

    def hand_off(self, server: halfsync.Server) -> None:
        server.hand_off()
        self.state = "closed" if self.state == "closed" else "ending"

    def close_keepalives(self, server: halfsync.Server) -> None:
        server.close_keepalives()
        self.closing_keepalives = True

    def wait(self, server: halfsync.Server) -> None:
        limit = EVENT_TIMEOUT_S if self.state == "ending" else 0
        assert server.wait(limit) is (self.state != "serving")

    def close(self, server: halfsync.Server) -> None:
        assert server.close(EVENT_TIMEOUT_S)
        self.state = "closed"

    def look(self, server: halfsync.Server) -> None:
        """Check that the server is in the state of the model."""
        assert server.ready is (self.state == "serving" and not self.closing_keepalives)
        assert server.statistics()["open"] == 0
        assert server.url.endswith(f":{server.address[1]}")
        if self.state == "serving":
            assert fetch(server.address).body == b"hello, you"
            until(lambda: server.statistics()["open"] == 0)
        elif self.state == "ending":
            assert server.wait(EVENT_TIMEOUT_S)
        if self.state in ("ending", "closed"):
            assert not listens(server)


ORDERS = [Oracle.start, Oracle.drain, Oracle.hand_off, Oracle.close_keepalives, Oracle.wait, Oracle.close]


@pytest.mark.parametrize("first", ORDERS, ids=lambda order: order.__name__)
def test_every_order_of_calls(name: str, first: Callable[[Oracle, halfsync.Server], None]) -> None:
    before = held()
    for orders in itertools.product([first], ORDERS, ORDERS):
        server, oracle = make(name), Oracle()
        try:
            for order in orders:
                order(oracle, server)
            oracle.look(server)
        except BaseException as error:
            error.add_note(" ".join(order.__name__ for order in orders))
            raise
        finally:
            assert server.close(EVENT_TIMEOUT_S)
    del server
    assert not leaked(before)


def test_a_block_around_any_state(name: str) -> None:
    for order in (halfsync.Server.drain, halfsync.Server.hand_off, halfsync.Server.close):
        with make(name) as server:
            order(server)
        assert not listens(server)
        server = make(name)
        order(server)
        with pytest.raises(RuntimeError, match="only once"), server:
            raise AssertionError("it must not start")


def test_a_block_around_a_server_that_runs_changes_nothing(name: str, tmp_path: Path) -> None:
    with make(name, Held(tmp_path / "go")) as server, Connection(server.address) as client:
        client.send(build())
        until(lambda: server.statistics()["running"] == 1)
        with pytest.raises(RuntimeError, match="only once"), server:
            raise AssertionError("it must not start")
        assert server.ready
        assert listens(server)
        server.drain()
        with pytest.raises(RuntimeError, match="only once"), server:
            raise AssertionError("it must not start")
        (tmp_path / "go").touch()
        assert client.response().body == b"hello, you"


def test_a_block_whose_start_fails_closes_its_server(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make(name)
    with monkeypatch.context() as patch:
        patch.setattr(server, "start", interrupted)
        with pytest.raises(KeyboardInterrupt), server:
            raise AssertionError("it must not start")
    assert not listens(server)


def interrupted() -> None:
    raise KeyboardInterrupt


BLOCKED = {signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD}


@pytest.fixture
def blocked() -> Iterator[None]:
    """Block signals, as a program does that waits for them in another thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("blocked")
def test_what_the_program_blocks_stays_blocked(name: str) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert before >= BLOCKED
    with make(name) as server:
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        for _ in range(2):
            assert fetch(server.address).body == b"hello, you"
        until(lambda: server.statistics()["open"] == 0)  # the process that accepts lets signals through
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("error", [OSError(11, "no process"), KeyboardInterrupt()], ids=repr)
def test_what_the_program_blocks_stays_blocked_if_no_process_can_be_had(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> int:
        raise error

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    server = make("process")
    with monkeypatch.context() as patch:
        patch.setattr(originals.os, "fork", failing)
        with pytest.raises(type(error)), server:
            raise AssertionError("it must not start")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize("wrong", WRONG_LIMITS, ids=lambda one: type(one).__name__)
def test_a_wrong_limit_changes_nothing(name: str, wrong: Any) -> None:
    with make(name) as server:
        for method in (server.close, server.wait):
            with pytest.raises((TypeError, ValueError), match="timeout must be a number of seconds or None"):
                method(wrong)
        assert fetch(server.address).status == 200
        assert server.ready
        server.drain()
        assert server.wait(Fraction(20))  # type: ignore[arg-type] # typing does not know all numbers
        assert server.close(Decimal("20"))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[-1], [1], [True], ["0"], [0.0], [None], [10**30], 5, [[0]]], ids=str)
def test_a_wrong_position_changes_nothing(name: str, wrong: Any) -> None:
    with make(name) as server:
        with pytest.raises((TypeError, ValueError)):
            server.hand_off(wrong)
        assert server.ready
        assert fetch(server.address).status == 200


class Held:
    """An application whose turn lasts until a file is there: one that processes share, too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, environ: Environ, start_response: Any) -> list[bytes]:
        until(self.path.exists)
        return hello(environ, start_response)


@pytest.mark.parametrize("endless", ENDLESS, ids=lambda one: str(one)[:9])
def test_a_limit_without_end_waits_for_the_application(name: str, endless: Any, tmp_path: Path) -> None:
    server = make(name, Held(tmp_path / "go"))
    server.start()
    with Connection(server.address) as client:
        client.send(build())
        until(lambda: server.statistics()["running"] == 1)
        said: list[bool] = []
        closing = threading.Thread(target=lambda: said.append(server.close(endless)))
        closing.start()
        until(lambda: not server.ready)
        assert said == []
        (tmp_path / "go").touch()
        closing.join(EVENT_TIMEOUT_S)
        assert said == [True]
    assert server.close(endless)


@pytest.mark.parametrize("name", ["proactor", "thread", "pool"])
def test_an_interrupted_close_can_be_called_again(name: str, tmp_path: Path) -> None:
    server = make(name, Held(tmp_path / "go"), access_log=str(tmp_path / "log"))
    server.start()
    with Connection(server.address) as client:
        client.send(build())
        until(lambda: server.statistics()["running"] == 1)
        for _ in range(3):
            interrupt(lambda: server.close(float("inf")), lambda: until(lambda: not server.ready))
            assert not server.close(0.05)  # what the application uses is open
            assert server.statistics()["running"] == 1
        (tmp_path / "go").touch()
        assert server.close(EVENT_TIMEOUT_S)


def test_an_interrupted_block_ends_its_server(name: str, tmp_path: Path) -> None:
    server = make(name, Held(tmp_path / "go"), graceful_timeout=EVENT_TIMEOUT_S)
    with Connection(server.address) as client:

        def leave_block() -> None:
            with server:
                client.send(build())
                until(lambda: server.statistics()["running"] == 1)
                (tmp_path / "in").touch()

        interrupt(leave_block, lambda: until(lambda: (tmp_path / "in").exists() and not server.ready))
        assert not listens(server)
        (tmp_path / "go").touch()
        assert server.close(EVENT_TIMEOUT_S)


def test_an_interrupted_start_leaves_nothing_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each place in which a start may wait for a thread, or fork."""
    real = threading.Thread.start
    for turn in range(2 if name in ("proactor", "pool") else 1):
        begun: list[threading.Thread] = []

        def start(thread: threading.Thread, turn: int = turn, begun: list[threading.Thread] = begun) -> None:
            begun.append(thread)
            real(thread)
            if len(begun) > turn:
                raise KeyboardInterrupt  # as one that comes while threading waits for the thread

        server = make(name)
        with monkeypatch.context() as patch:
            if name == "process":
                patch.setattr(originals.signal, "pthread_sigmask", interrupted_mask())
            else:
                patch.setattr(threading.Thread, "start", start)
            with pytest.raises(KeyboardInterrupt):
                server.start()
        for thread in begun:
            thread.join(EVENT_TIMEOUT_S)
            assert not thread.is_alive()
        assert server.close(EVENT_TIMEOUT_S)
        assert not server.ready
        assert not listens(server)


def interrupted_mask() -> Callable[[int, Any], Any]:
    """Return a pthread_sigmask that raises once, as a handler does when signals are let through again in the parent."""
    process, mask = os.getpid(), signal.pthread_sigmask
    raised: list[bool] = []

    def set_mask(how: int, signals: Any) -> Any:
        before = mask(how, signals)
        if how == signal.SIG_SETMASK and os.getpid() == process and not raised:
            raised.append(True)
            raise KeyboardInterrupt
        return before

    return set_mask


def test_the_log_stays_closed(name: str, tmp_path: Path) -> None:
    server = make(name, access_log=str(tmp_path / "log"))
    server.start()
    assert server.close(EVENT_TIMEOUT_S)
    (tmp_path / "log").unlink()
    server.reopen_logs()
    assert not (tmp_path / "log").exists()


def test_drained_before_the_start_it_releases_its_address(name: str, tmp_path: Path) -> None:
    server = make(name, bind=f"unix:{tmp_path / 'socket'}")
    server.drain()
    assert not (tmp_path / "socket").exists()
    assert server.wait(0)
    with make(name, bind=f"unix:{tmp_path / 'socket'}") as other:
        assert other.ready
        server.drain()
        server.hand_off()
        assert server.close()
        assert (tmp_path / "socket").exists()
