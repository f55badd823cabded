"""Signals to a serving process: what was received is answered, and the process ends in order."""

import os
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving
from tests.sharing import processes
from tests.wsgi import until

RUNNING, QUEUED = 4, 8
PIPELINED = 5
MANY = 80  # connections at once, more than are looked at in one turn
QUICK_S = 15.0  # of an exit that waits for nothing; it takes a second at most if nothing else runs
NEWCOMER_S = 1.0  # from its connecting on, in which a draining server waits for a first request
LONG = ("--graceful-timeout", "60s")

# Requests wait in it until the file "go" is there, and each says on standard error that it has begun.
APP = """
import os, time
def app(environ, start_response):
    path = environ["PATH_INFO"]
    os.write(2, f"begun {path}\\n".encode())  # as one write: print would mix the lines of threads
    while path != "/now" and not os.path.exists("go"):
        time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [path.encode()]
"""


def connect(stack: ExitStack, serving: Serving, target: str) -> Connection:
    connection = stack.enter_context(Connection(serving.address, timeout_s=30))
    connection.send(build(target))
    return connection


def refuses(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=5).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # its listener was closed in between
        return False
    return False


def assert_clean(serving: Serving) -> None:
    assert not [line for line in serving.lines if "Traceback" in line or "Error" in line], serving.lines


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def test_sigterm_answers_all_that_was_received(tmp_path: Path, model: tuple[str, str]) -> None:
    with Serving(tmp_path, APP, *LONG, *model) as serving, ExitStack() as stack:
        idle = stack.enter_context(Connection(serving.address))
        idle.send(build("/now"))
        assert idle.response().status == 200
        silent = stack.enter_context(Connection(serving.address))
        received = [connect(stack, serving, f"/{number}") for number in range(RUNNING)]
        serving.wait_lines("begun", RUNNING + 1)
        received += [connect(stack, serving, f"/{RUNNING + number}") for number in range(QUEUED)]
        serving.signal(signal.SIGTERM)
        serving.wait_line("drains")
        until(lambda: refuses(serving.address))
        if model != MODELS["pool"]:  # there they wait in the queue, behind those under way
            idle.closed()
            silent.closed()
        assert serving.process.poll() is None, "it waits for those under way"
        (tmp_path / "go").touch()
        for number, connection in enumerate(received):
            response = connection.response()
            assert (response.status, response.body) == (200, f"/{number}".encode())
            connection.closed()
        idle.closed()
        silent.closed()
        assert serving.exit_code() == 0
        assert_clean(serving)


SLOW_FORK = (
    APP
    + """
os.register_at_fork(before=lambda: time.sleep(0.05))
"""
)


def test_a_draining_server_forks_a_process_for_each_waiting_connection(tmp_path: Path) -> None:
    """However many they are, and though none of them ends."""
    with Serving(tmp_path, APP, *LONG, *MODELS["process"]) as serving, ExitStack() as stack:
        serving.signal(signal.SIGSTOP)
        received = [connect(stack, serving, f"/{number}") for number in range(MANY)]
        serving.signal(signal.SIGTERM)
        serving.signal(signal.SIGCONT)
        serving.wait_lines("begun", MANY)
        (tmp_path / "go").touch()
        for connection in received:
            assert connection.response().status == 200
        assert serving.exit_code() == 0


def test_an_order_to_drain_waits_for_one_fork_at_most(tmp_path: Path) -> None:
    """Forks can be slow, and many can be due."""
    with Serving(tmp_path, SLOW_FORK, *LONG, *MODELS["process"]) as serving, ExitStack() as stack:
        for number in range(MANY):
            connect(stack, serving, f"/{number}")
        serving.wait_line("begun")
        serving.signal(signal.SIGTERM)
        until(lambda: refuses(serving.address))
        assert len([line for line in serving.lines if "begun" in line]) < MANY // 2
        serving.signal(signal.SIGINT)
        assert serving.exit_code() == 0


def test_a_client_that_has_just_connected_is_answered(tmp_path: Path, model: tuple[str, str]) -> None:
    """Its request may be on its way; one that stays silent is not waited for longer than a moment."""
    with Serving(tmp_path, APP, *LONG, *model) as serving, ExitStack() as stack:
        connected = time.monotonic()
        newcomer = stack.enter_context(Connection(serving.address))
        silent = stack.enter_context(Connection(serving.address))
        serving.signal(signal.SIGTERM)
        until(lambda: refuses(serving.address))
        newcomer.send(build("/now"))
        if time.monotonic() - connected < NEWCOMER_S:  # else it came too late, to a process that forks slowly
            response = newcomer.response()
            assert (response.status, response.one("Connection")) == (200, "close")
        silent.closed()
        assert serving.exit_code() == 0
        assert_clean(serving)


def test_a_second_sigterm_ends_at_once(tmp_path: Path, model: tuple[str, str]) -> None:
    with Serving(tmp_path, APP, *LONG, *model) as serving, ExitStack() as stack:
        stuck = connect(stack, serving, "/stuck")
        serving.wait_line("begun")
        serving.signal(signal.SIGTERM)
        serving.wait_line("drains")
        since = time.monotonic()
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert time.monotonic() - since < QUICK_S
        assert stuck.cut() == b""
        assert_clean(serving)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("busy", [False, True])
def test_sigint_and_sigquit_end_quickly(
    tmp_path: Path, number: signal.Signals, busy: bool, model: tuple[str, str]
) -> None:
    with Serving(tmp_path, APP, *LONG, *model) as serving, ExitStack() as stack:
        assert fetch(serving.address, "/now").status == 200
        if busy:
            for request in range(RUNNING + QUEUED):
                connect(stack, serving, f"/{request}")
            serving.wait_lines("begun", RUNNING + 1)
        since = time.monotonic()
        serving.signal(number)
        assert serving.exit_code() == 0
        assert time.monotonic() - since < QUICK_S
        assert_clean(serving)


def test_the_graceful_timeout_bounds_a_drain(tmp_path: Path, model: tuple[str, str]) -> None:
    with Serving(tmp_path, APP, "--graceful-timeout", "500ms", *model) as serving, ExitStack() as stack:
        stuck = connect(stack, serving, "/stuck")
        half = connect(stack, serving, "/now")
        assert half.response().status == 200
        half.send(b"GET / HT")
        serving.wait_lines("begun", 2)
        since = time.monotonic()
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert 0.45 < time.monotonic() - since < 0.5 + QUICK_S
        assert stuck.cut() == b""
        assert half.cut() == b""
        assert "cut off" in serving.lines[-1]
        assert_clean(serving)


def test_an_idle_server_drains_at_once(tmp_path: Path, model: tuple[str, str]) -> None:
    with Serving(tmp_path, APP, *LONG, *model) as serving, ExitStack() as stack:
        idle = [connect(stack, serving, "/now") for _ in range(20)]
        for connection in idle:
            assert connection.response().status == 200
        since = time.monotonic()
        serving.signal(signal.SIGTERM)
        for connection in idle:
            connection.closed()
        assert serving.exit_code() == 0
        assert time.monotonic() - since < QUICK_S
        assert_clean(serving)


@pytest.mark.parametrize("before", [0, 1], ids=["unused", "used"])
def test_a_server_without_connections_drains_at_once(
    tmp_path: Path, model: tuple[str, str], before: int
) -> None:
    with Serving(tmp_path, APP, *LONG, *model) as serving:
        for _ in range(before):
            assert fetch(serving.address, "/now", fields=[("Connection", "close")]).status == 200
            until(lambda: len(list(processes(serving.process.pid))) == 1)  # a child has been reaped
        serving.signal(signal.SIGTERM)  # and no connection arrives that would wake it
        assert serving.exit_code() == 0
        assert_clean(serving)


def test_a_worker_that_never_returns_does_not_keep_the_process(
    tmp_path: Path, model: tuple[str, str]
) -> None:
    spin = APP.replace("time.sleep(0.005)", "pass")
    with Serving(tmp_path, spin, "--graceful-timeout", "0s", *model) as serving, ExitStack() as stack:
        connect(stack, serving, "/spin")
        serving.wait_line("begun")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert_clean(serving)


@pytest.mark.parametrize("behind", [False, True], ids=["with the first", "behind it"])
def test_sigterm_answers_what_was_pipelined_up_to_the_response_that_closes(
    tmp_path: Path, model: tuple[str, str], behind: bool
) -> None:
    targets = [f"/{number}" for number in range(PIPELINED)]
    wires = [build(target) for target in targets]
    with Serving(tmp_path, APP, *LONG, *model) as serving, Connection(serving.address) as connection:
        connection.send(wires[0] if behind else b"".join(wires))
        serving.wait_line("begun")
        if behind:  # it is not read before the first is answered
            connection.send(b"".join(wires[1:]))
        serving.signal(signal.SIGTERM)
        until(lambda: refuses(serving.address))
        (tmp_path / "go").touch()
        responses = connection.last_responses()
        # What came behind a response that says it is the last need not be answered (RFC 9112 9.6).
        assert [response.body.decode() for response in responses] == targets[: len(responses)]
        assert {response.status for response in responses} == {200}
        assert serving.exit_code() == 0
        assert_clean(serving)


# SIGTERM comes while the server forks for its first connection: before that, when the child hears no signals of its
# own yet, or when the parent has not noted its child yet. By then what the child sends has come.
IN_THE_FORK = (
    APP
    + """
import signal
server, forks = os.getpid(), 0
heard, told = os.pipe()

def before():
    global forks
    forks += 1
    if forks == 1 and WHEN == "before":
        os.kill(server, signal.SIGTERM)

def in_child():
    if forks == 1 and WHEN == "in the child":
        os.kill(server, signal.SIGTERM)
    if forks == 1 and WHEN == "to both":
        os.killpg(0, signal.SIGTERM)
    os.write(told, b"!")

def in_parent():
    os.read(heard, 1)
    if forks == 1 and WHEN == "in the parent":
        os.kill(server, signal.SIGTERM)

os.register_at_fork(before=before, after_in_child=in_child, after_in_parent=in_parent)
"""
)


@pytest.mark.parametrize("begun", [False, True], ids=["silent", "begun"])
@pytest.mark.parametrize("when", ["before", "in the child", "in the parent", "to both"])
def test_sigterm_while_a_child_is_forked_ends_it_in_order(tmp_path: Path, when: str, begun: bool) -> None:
    app = f"WHEN = {when!r}\n" + IN_THE_FORK
    request = build("/now", method="POST", body=b"ab") if begun else b""
    with Serving(tmp_path, app, *LONG, "--model", "process") as serving, ExitStack() as stack:
        server = serving.process.pid
        serving.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, server, os.WSTOPPED)
        connection = stack.enter_context(Connection(serving.address))
        connection.send(request[:-1])  # it is there before the order to drain
        serving.signal(signal.SIGCONT)
        serving.wait_line("drains")
        if begun:
            # A signal that is handled twice, or by the wrong process, would cut it off.
            connection.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.response()
            connection.socket.settimeout(30)
            connection.send(request[-1:])
            response = connection.response()
            assert (response.status, response.body) == (200, b"/now")
        assert connection.rest() == b""
        assert serving.exit_code() == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(server, 0)  # no process is left
        assert_clean(serving)
