"""Signals to a server of several processes, at every moment: what was received is answered, and it ends in order."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving, children
from tests.faults.test_reloads import connections, listens
from tests.faults.test_signals import APP, QUICK_S, assert_clean, connect, refuses
from tests.sharing import processes
from tests.wsgi import until

RECEIVED = 12  # of which each process runs four, if it has four threads
WAITING = 20  # in the backlog
LONG = ("--graceful-timeout", "60s", "--threads", "4")
SLOW_IMPORT = APP + "while not os.path.exists('import'): time.sleep(0.005)\n"


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def held(serving: Serving) -> int:
    """Count the connections that the server has accepted and not closed."""
    return sum(connections(pid, serving.address[1]) for pid in processes(serving.process.pid))


@contextmanager
def stopped(pids: set[int]) -> Iterator[None]:
    """Let these processes do nothing for as long."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def starting(tmp_path: Path, application: str, *options: str) -> Iterator[Serving]:
    """Start a server whose first process is still loading its application."""
    serving = Serving(tmp_path, application, *options)
    try:
        until(lambda: children(serving.process.pid))
        yield serving
    finally:
        serving.__exit__(None, None, None)


def all_serve(workers: int) -> str:
    """Return what the log says once all processes serve."""
    return f"all {workers} processes serve" if workers > 1 else "1 process serves"


def assert_answered(received: list[Connection]) -> None:
    for number, connection in enumerate(received):
        response = connection.response()
        assert (response.status, response.body) == (200, f"/{number}".encode())


def assert_over(serving: Serving, own: set[int]) -> None:
    """Wait for the end. No process stays, and the log has only the expected lines."""
    assert serving.exit_code() == 0
    assert not [pid for pid in own if Path(f"/proc/{pid}").exists()]
    assert_clean(serving)
    assert not [line for line in serving.lines if " ERROR " in line], serving.lines


def to_the_supervisor(serving: Serving) -> None:
    serving.signal(signal.SIGTERM)


def to_the_group(serving: Serving) -> None:
    """Do as a service manager does that ends a whole control group."""
    os.killpg(serving.process.pid, signal.SIGTERM)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("tell", [to_the_supervisor, to_the_group])
def test_sigterm_answers_all_that_was_received_or_waits_in_the_backlog(
    tmp_path: Path, model: tuple[str, ...], workers: int, tell: Callable[[Serving], None]
) -> None:
    with Serving(tmp_path, APP, *LONG, *model, "--workers", str(workers)) as serving, ExitStack() as stack:
        serving.wait_line(all_serve(workers))
        own = children(serving.process.pid)
        received = [connect(stack, serving, f"/{number}") for number in range(RECEIVED)]
        until(lambda: held(serving) == RECEIVED)
        with stopped(own):
            received += [connect(stack, serving, f"/{RECEIVED + number}") for number in range(WAITING)]
            tell(serving)
            serving.wait_line("drains")
        until(lambda: refuses(serving.address))
        (tmp_path / "go").touch()
        assert_answered(received)
        assert_over(serving, own)
        assert serving.lines[-1].endswith(
            f" halfsync stopped: {RECEIVED + WAITING} requests were still finished, none cut off"
        )


def test_a_process_that_ends_with_the_group_is_not_replaced(tmp_path: Path, model: tuple[str, ...]) -> None:
    """The kernel reaches the youngest first, so a process may know before the supervisor that all are to end."""
    for _ in range(3):
        with Serving(tmp_path, APP, *LONG, *model, "--workers", "4") as serving:
            serving.wait_line("all 4 processes serve")
            to_the_group(serving)
            assert serving.exit_code() == 0
            assert not [line for line in serving.lines if "replacing it" in line], serving.lines


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,), (signal.SIGQUIT,), (signal.SIGTERM, signal.SIGINT)],
)
def test_a_second_signal_and_quick_ones_end_now(
    tmp_path: Path, model: tuple[str, ...], signals: tuple[signal.Signals, ...]
) -> None:
    with Serving(tmp_path, APP, *LONG, *model, "--workers", "2") as serving, ExitStack() as stack:
        serving.wait_line("all 2 processes serve")
        own = children(serving.process.pid)
        received = [connect(stack, serving, f"/{number}") for number in range(RECEIVED)]
        serving.wait_lines("begun", 4)
        since = time.monotonic()
        for number in signals:
            os.killpg(serving.process.pid, number)  # as Ctrl-C in a terminal does
            if number == signal.SIGTERM:
                serving.wait_line("drains")
        assert serving.exit_code() == 0
        assert time.monotonic() - since < QUICK_S
        for connection in received:
            assert connection.cut() == b""
        assert not [pid for pid in own if Path(f"/proc/{pid}").exists()]
        assert_clean(serving)
        assert serving.lines[-1].endswith("cut off") and "none" not in serving.lines[-1]


def test_sigterm_while_new_processes_load(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Serving(tmp_path, APP, *LONG, *model, "--workers", "2") as serving, ExitStack() as stack:
        serving.wait_line("all 2 processes serve")
        received = [connect(stack, serving, f"/{number}") for number in range(4)]
        serving.wait_lines("begun", 4)
        before = children(serving.process.pid)
        (tmp_path / "served.py").write_text(SLOW_IMPORT)
        serving.signal(signal.SIGHUP)
        until(lambda: len(children(serving.process.pid)) == 3)
        own = children(serving.process.pid)
        serving.signal(signal.SIGTERM)
        serving.wait_line("drains")
        until(lambda: children(serving.process.pid) <= before)
        (tmp_path / "go").touch()
        assert_answered(received)
        assert_over(serving, own)


def test_sigterm_while_old_processes_hand_off(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Serving(tmp_path, APP, *LONG, *model, "--workers", "2") as serving, ExitStack() as stack:
        serving.wait_line("all 2 processes serve")
        received = [connect(stack, serving, f"/{number}") for number in range(RECEIVED)]
        until(lambda: held(serving) == RECEIVED)
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        own = children(serving.process.pid)
        # An old one goes at once if the other has all connections, or if it can hand its own off.
        assert len(own) > 2
        serving.signal(signal.SIGTERM)
        serving.wait_line("drains")
        until(lambda: refuses(serving.address))  # all of them do, and count from now on
        (tmp_path / "go").touch()
        assert_answered(received)
        assert_over(serving, own)
        assert f"{RECEIVED} requests were still finished" in serving.lines[-1], serving.lines


def test_sighup_twice_at_once(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Serving(tmp_path, APP, *LONG, *model, "--workers", "2") as serving, ExitStack() as stack:
        serving.wait_line("all 2 processes serve")
        before = children(serving.process.pid)
        received = [connect(stack, serving, f"/{number}") for number in range(RECEIVED)]
        serving.wait_lines("begun", 4)
        (tmp_path / "served.py").write_text(SLOW_IMPORT)
        serving.signal(signal.SIGHUP)
        serving.wait_lines("reloading", 1)
        until(lambda: len(children(serving.process.pid)) == 3)
        serving.signal(signal.SIGHUP)  # the process that is loading is for nothing now
        serving.wait_lines("reloading", 2)
        (tmp_path / "import").touch()
        serving.wait_line("the reload is complete")
        (tmp_path / "go").touch()
        assert_answered(received)
        until(lambda: len(children(serving.process.pid)) == 2)
        assert not before & children(serving.process.pid)
        assert sum("the reload is complete" in line for line in serving.lines) == 1
        serving.signal(signal.SIGTERM)
        assert_over(serving, children(serving.process.pid))


def test_sighup_while_it_starts(tmp_path: Path, model: tuple[str, ...]) -> None:
    with starting(tmp_path, SLOW_IMPORT, *LONG, *model, "--workers", "2") as serving:
        first = children(serving.process.pid)
        serving.signal(signal.SIGHUP)
        serving.wait_line("reloading")
        (tmp_path / "import").touch()
        with serving:
            serving.wait_line("all 2 processes serve")
            until(lambda: len(children(serving.process.pid) - first) == 2)
            assert fetch(serving.address, "/now").body == b"/now"
            own = children(serving.process.pid)
            serving.signal(signal.SIGTERM)
            assert_over(serving, own)


# What is no order to end, and what the log says of it. Scripts that rotate logs send USR1 to all of a service.
ORDERS = {
    signal.SIGHUP: "reloading",
    signal.SIGUSR1: "",
    signal.SIGUSR2: "upgrading",
    signal.SIGTTIN: "3 serving processes are wanted",
    signal.SIGTTOU: "1 serving process is wanted",
}


@pytest.mark.parametrize("number", ORDERS)
def test_an_order_to_the_group_ends_no_process_that_is_the_first(
    tmp_path: Path, number: signal.Signals
) -> None:
    with starting(tmp_path, SLOW_IMPORT, *LONG, "--workers", "2") as serving:
        first = children(serving.process.pid)
        os.killpg(serving.process.pid, number)
        if ORDERS[number]:
            serving.wait_line(ORDERS[number])
        else:
            time.sleep(0.2)  # no event shows it
        assert number == signal.SIGHUP or first <= children(serving.process.pid)
        (tmp_path / "import").touch()
        with serving:
            assert fetch(serving.address, "/now").body == b"/now"
            assert not [line for line in serving.lines if " ERROR " in line], serving.lines


@pytest.mark.parametrize("number", ORDERS)
def test_an_order_to_the_group_ends_no_process_of_a_reload(tmp_path: Path, number: signal.Signals) -> None:
    with Serving(tmp_path, APP, *LONG, "--workers", "2") as serving:
        serving.wait_line("all 2 processes serve")
        old = children(serving.process.pid)
        (tmp_path / "served.py").write_text(SLOW_IMPORT)
        serving.signal(signal.SIGHUP)
        until(lambda: len(children(serving.process.pid)) == 3)
        before = sum(ORDERS[number] in line for line in serving.lines)
        os.killpg(serving.process.pid, number)
        if ORDERS[number]:
            serving.wait_lines(ORDERS[number], before + 1)
        (tmp_path / "import").touch()
        if number == signal.SIGUSR2:
            serving.wait_line("this program is the server now")
        else:
            serving.wait_line("the reload is complete")
            until(lambda: not old & children(serving.process.pid))
        assert fetch(serving.address, "/now").body == b"/now"
        assert not [line for line in serving.lines if " ERROR " in line], serving.lines


@pytest.mark.parametrize("number", ORDERS)
def test_an_order_to_the_group_costs_no_connection(
    tmp_path: Path, model: tuple[str, ...], number: signal.Signals
) -> None:
    with (
        Serving(tmp_path, APP, *LONG, *model, "--workers", "2") as serving,
        Connection(serving.address) as kept,
    ):
        serving.wait_line("all 2 processes serve")
        for _ in range(2):
            kept.send(build("/now"))
            assert kept.response().body == b"/now"
            os.killpg(serving.process.pid, number)
            if number == signal.SIGUSR2:
                serving.wait_line("this program is the server now")
            elif number == signal.SIGHUP:
                serving.wait_line("the reload is complete")
            elif ORDERS[number]:
                serving.wait_line(ORDERS[number])
            else:
                time.sleep(0.2)
        kept.send(build("/now"))
        assert kept.response().body == b"/now"
        assert not [line for line in serving.lines if " ERROR " in line], serving.lines


# Its signals while a supervisor loads the application itself.
PRELOADED = ("--workers", "1", "--preload", "--pidfile", "pid", "-b", "unix:socket")
# What an application does as it is loaded: it waits in a system call, or goes on whatever is raised in it.
PRELOADS = {
    "sleeps": SLOW_IMPORT,
    "reads": "os.read(os.pipe()[0], 1)\n" + APP,
    "goes on": "try:\n    while True: pass\nexcept BaseException: pass\n" + APP,
}
LOADING = "import os\nos.write(2, b'loading\\n')\n"


@contextmanager
def preloading(tmp_path: Path, application: str = SLOW_IMPORT) -> Iterator[Serving]:
    """Start a server that is loading its application for all processes."""
    serving = Serving(tmp_path, LOADING + application, *PRELOADED)
    try:
        serving.wait_line("loading")
        assert (tmp_path / "pid").exists() and (tmp_path / "socket").exists()
        yield serving
    finally:
        serving.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGQUIT, 130)]
)
@pytest.mark.parametrize("application", PRELOADS.values(), ids=PRELOADS)
def test_a_signal_that_ends_a_server_while_it_preloads_leaves_no_file(
    tmp_path: Path, number: signal.Signals, code: int, application: str
) -> None:
    with preloading(tmp_path, application) as serving:
        serving.signal(number)
        assert serving.exit_code() == code
        assert not (tmp_path / "pid").exists() and not (tmp_path / "socket").exists()
        assert_clean(serving)


@pytest.mark.parametrize("number", ORDERS)
def test_an_order_to_a_server_that_preloads_waits(tmp_path: Path, number: signal.Signals) -> None:
    with preloading(tmp_path) as serving:
        os.killpg(serving.process.pid, number)
        (tmp_path / "import").touch()
        with serving:
            serving.wait_line("serves served:app")
            if ORDERS[number]:
                serving.wait_line(
                    ORDERS[number].replace("3 serving processes are", "2 serving processes are")
                )
            assert fetch(serving.address, "/now").body == b"/now"
            assert not [line for line in serving.lines if " ERROR " in line], serving.lines


FORKING = """
import os, signal, time
child = os.fork()
if child == 0:
    while True: time.sleep(1)
os.kill(child, signal.SIGTERM)
os.write(2, b"the child ended with %d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_process_that_a_preloaded_application_forks_has_the_default(tmp_path: Path) -> None:
    with preloading(tmp_path, FORKING + SLOW_IMPORT) as serving:
        serving.wait_line(f"the child ended with -{signal.SIGTERM:d}")
        (tmp_path / "import").touch()
        with serving:
            assert fetch(serving.address, "/now").body == b"/now"


@pytest.mark.parametrize("tell", [to_the_supervisor, to_the_group])
def test_sigterm_while_it_starts(tmp_path: Path, tell: Callable[[Serving], None]) -> None:
    with starting(tmp_path, SLOW_IMPORT, *LONG, "--workers", "2") as serving:
        own = children(serving.process.pid)
        tell(serving)
        assert serving.exit_code() == 0
        assert not [pid for pid in own if Path(f"/proc/{pid}").exists()]
        assert_clean(serving)


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_to_a_serving_process_has_it_replaced(
    tmp_path: Path, model: tuple[str, ...], workers: int
) -> None:
    # With a thread for each: a new connection may reach the process that stays, and must not wait there for the others.
    options = (*LONG, *model, "--workers", str(workers), "--threads", str(2 * RECEIVED))
    with Serving(tmp_path, APP, *options) as serving, ExitStack() as stack:
        serving.wait_line(all_serve(workers))
        received = [connect(stack, serving, f"/{number}") for number in range(RECEIVED)]
        until(lambda: held(serving) == RECEIVED)
        victim = max(children(serving.process.pid), key=lambda pid: connections(pid, serving.address[1]))
        os.kill(victim, signal.SIGTERM)
        serving.wait_line(f"process {victim} was told to end: replacing it")
        until(lambda: not listens(victim, serving.address[1]))
        assert len(children(serving.process.pid)) == workers + 1
        for _ in range(20):  # new connections are served, however long the old process takes
            assert fetch(serving.address, "/now").status == 200
        (tmp_path / "go").touch()
        assert_answered(received)
        until(lambda: victim not in children(serving.process.pid))
        assert len(children(serving.process.pid)) == workers
        serving.signal(signal.SIGTERM)
        assert_over(serving, children(serving.process.pid))


def test_a_flood_of_signals_hides_none_that_matters(tmp_path: Path) -> None:
    """SIGTERM is not lost among thousands of signals of children that end, or of another sender."""
    with Serving(tmp_path, APP, *LONG, "--workers", "2") as serving:
        serving.wait_line("all 2 processes serve")
        own = children(serving.process.pid)
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            serving.signal(signal.SIGCHLD)
            serving.signal(signal.SIGUSR1)
        assert fetch(serving.address, "/now", fields=[("Connection", "close")]).status == 200
        serving.signal(signal.SIGTERM)
        assert_over(serving, own)
