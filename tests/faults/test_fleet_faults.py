"""Serving processes that crash, hang, leak, are stopped or are lost: what is lost, and how they are replaced."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from halfsync.supervisor.recycling import resident_bytes
from tests.client import Connection, build, fetch
from tests.disks import small_disk
from tests.faults.load import APP as LOADED
from tests.faults.load import Load
from tests.faults.serving import MODELS, Serving, children, stop
from tests.faults.test_reloads import connections, listens
from tests.faults.test_signals import QUICK_S, refuses
from tests.sharing import first_free_descriptor, foreign_environment, frugal_environment, processes
from tests.wsgi import until

MIB = 1 << 20
BETWEEN = 30  # requests that are answered between two events, at least

# What it does is in the path. A file of the name "hang" keeps it from being loaded.
APP = """
import ctypes, os, time
while os.path.exists("hang"):
    time.sleep(0.005)
kept = []
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/segfault":
        ctypes.CDLL(None).signal(11, None)  # which a sanitizer would handle
        ctypes.string_at(0)
    elif path == "/exit":
        os._exit(0)
    elif path.startswith("/stuck"):
        os.write(2, b"begun\\n")
        while not os.path.exists("go"):
            time.sleep(0.005)
    elif path == "/spin":
        open("spins", "w").close()
        ctypes.PyDLL(None).usleep(SPIN_US)  # which keeps the GIL for as long
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getppid() if PROCESS else os.getpid()}".encode()]
"""
SPIN_S = 2.0


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def served(tmp_path: Path, model: tuple[str, ...], *options: str, workers: int = 2) -> Serving:
    text = APP + f"PROCESS = {'process' in model}\nSPIN_US = {int(SPIN_S * 1e6)}\n"
    return Serving(tmp_path, text, *model, "--workers", str(workers), *options)


def errors(serving: Serving) -> list[str]:
    return [line for line in serving.lines if " ERROR " in line or "Traceback" in line]


def answered_by(address: tuple[str, int]) -> int:
    response = fetch(address)
    assert response.status == 200
    return int(response.body)


@contextmanager
def limited(pid: int, kind: int, most: int, user: int | None = None) -> Iterator[None]:
    """Limit a resource of a process and of those that it forks. user: that of the process, if not ours."""
    name = {resource.RLIMIT_NPROC: "nproc", resource.RLIMIT_NOFILE: "nofile"}[kind]
    soft, _ = resource.prlimit(0 if user else pid, kind)  # another user's is what it had from here

    def set_soft(number: int) -> None:
        limit = "unlimited" if number == resource.RLIM_INFINITY else str(number)
        command = ["prlimit", f"--pid={pid}", f"--{name}={limit}:"]
        subprocess.run(command, user=user, group=user, check=True, env=foreign_environment())

    set_soft(most)
    try:
        yield
    finally:
        set_soft(soft)


@pytest.mark.parametrize(
    ("target", "how"), [("/segfault", "was killed by signal 11"), ("/exit", "ended with exit code 0")]
)
def test_a_request_that_ends_its_process_costs_itself(
    tmp_path: Path, model: tuple[str, ...], target: str, how: str
) -> None:
    with served(tmp_path, model) as serving:
        serving.wait_line("all 2 processes serve")
        before = children(serving.process.pid)
        with Connection(serving.address) as connection:
            connection.send(build(target))
            assert connection.cut() == b""
        for _ in range(20):
            assert answered_by(serving.address) in children(serving.process.pid)
        if "process" in model:
            assert children(serving.process.pid) == before  # it was a child of theirs
        else:
            serving.wait_line(how)
            until(lambda: len(children(serving.process.pid)) == 2)
            assert len(children(serving.process.pid) & before) == 1


def test_a_process_that_hangs_when_it_is_to_take_a_place_is_tried_again(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    with served(tmp_path, model, "--boot-timeout", "1s") as serving:
        serving.wait_line("all 2 processes serve")
        (tmp_path / "hang").touch()
        victim = min(children(serving.process.pid))
        os.kill(victim, signal.SIGKILL)
        serving.wait_line("was not ready within 1 s; retrying in")
        assert answered_by(serving.address) != victim
        (tmp_path / "hang").unlink()
        os.kill(answered_by(serving.address), signal.SIGKILL)
        until(lambda: len(children(serving.process.pid)) == 2)
        assert answered_by(serving.address)


def test_a_leak_is_bounded_and_costs_no_request(tmp_path: Path, model: tuple[str, ...]) -> None:
    """A mebibyte is lost with each request; in the model `process` with each connection, in a child that ends."""
    leaking = LOADED.replace("    path =", "    kept.append(b'x' * 2**20)\n    path =") + "kept = []\n"
    most = 0
    options = (*model, "--workers", "2", "--max-rss", "100m")
    with Serving(tmp_path, leaking, *options, more=frugal_environment()) as serving:
        serving.wait_line("all 2 processes serve")
        with Load(lambda: serving.address, keeping=3, closing=1) as load:
            goal = 10 * BETWEEN
            while load.tally.answered < goal:
                load.wait_answers(5)
                most = max([most, *map(resident_bytes, children(serving.process.pid))])
        assert not load.tally.failures, load.tally.reasons()
        print(f"{load.tally.answered} answered, {most / MIB:.0f} MiB at most")
        assert most < 300 * MIB  # between two looks it may grow
        if "process" not in model:
            serving.wait_line("(max_rss)")
        assert not errors(serving)


def test_a_full_disk_costs_only_the_requests_that_need_it(tmp_path: Path, model: tuple[str, ...]) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, MIB):
        (folder / "full").write_bytes(bytes(MIB))
        options = ("--workers", "2", "--temp-dir", str(folder))
        with Serving(tmp_path, LOADED, *model, *options) as serving:
            serving.wait_line("all 2 processes serve")
            own = children(serving.process.pid)
            with Load(lambda: serving.address, keeping=3, closing=1, large=False) as load:
                for number in range(4):
                    load.wait_answers(BETWEEN)
                    with Connection(serving.address) as connection:
                        with suppress(
                            ConnectionError
                        ):  # it may be answered, and others may wait, before all is sent
                            connection.send(build("/echo", method="POST", body=bytes(4 * MIB))[: 2 * MIB])
                        assert connection.response().status == 503
                    serving.signal(signal.SIGHUP)
                    serving.wait_lines("the reload is complete", number + 1)
                load.wait_answers(BETWEEN)
            assert not load.tally.failures, load.tally.reasons()
            assert not own & children(serving.process.pid)
            assert not errors(serving)
            (folder / "full").unlink()
            assert fetch(serving.address, "/echo", method="POST", body=bytes(MIB // 2)).status == 200


@pytest.mark.parametrize("told", [False, True], ids=["serving", "draining"])
def test_what_runs_is_answered_when_the_supervisor_is_lost(
    tmp_path: Path, model: tuple[str, ...], told: bool
) -> None:
    with served(tmp_path, model, "--threads", "4") as serving, ExitStack() as stack:
        serving.wait_line("all 2 processes serve")
        own = children(serving.process.pid)
        received = [stack.enter_context(Connection(serving.address)) for _ in range(12)]
        for connection in received:
            connection.send(build("/stuck"))
        until(
            lambda: sum(connections(pid, serving.address[1]) for pid in processes(serving.process.pid)) == 12
        )
        serving.wait_lines("begun", 4)
        if told:
            serving.signal(signal.SIGTERM)
            until(lambda: refuses(serving.address))
        serving.signal(signal.SIGKILL)
        serving.wait_lines("the supervisor has died", 1 if told else 2)  # one with nothing to do has ended
        until(lambda: refuses(serving.address))
        (tmp_path / "go").touch()
        for connection in received:
            assert connection.response().status == 200
        until(lambda: not [pid for pid in own if Path(f"/proc/{pid}").exists() and not is_zombie(pid)])
        with socket.create_server(serving.address):
            pass  # the port is free


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("poller", ["epoll", "poll"])
def test_a_process_with_stuck_threads_is_replaced(tmp_path: Path, poller: str) -> None:
    limits = ("--threads", "2", "--request-timeout", "1s", "--max-stuck", "1", "--graceful-timeout", "1s")
    with served(tmp_path, ("--poller", poller), *limits, workers=1) as serving:
        serving.wait_line("1 process serves")
        (victim,) = children(serving.process.pid)
        with ExitStack() as stack:
            stuck = [stack.enter_context(Connection(serving.address)) for _ in range(2)]
            for connection in stuck:
                connection.send(build("/stuck/here"))
            for connection in stuck:
                assert connection.response().status == 504
        while answered_by(serving.address) == victim:
            pass
        assert "(max_stuck)" in serving.wait_line(f"process {victim} has 2 stuck threads")
        until(lambda: victim not in children(serving.process.pid))
        text = "\n".join(serving.lines)
        assert "GET /stuck/here" in text and "served.py" in text
        assert text.count("Traceback") == 0


def test_a_process_whose_application_keeps_the_gil_is_not_killed(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    with served(tmp_path, model, "--boot-timeout", "1s", "--graceful-timeout", "1s") as serving:
        serving.wait_line("all 2 processes serve")
        own = children(serving.process.pid)
        with Connection(serving.address) as connection:
            connection.send(build("/spin"))
            until((tmp_path / "spins").exists)
            assert connection.response().status == 200
        assert children(serving.process.pid) == own
        assert not errors(serving)


@pytest.mark.parametrize("moment", ["loading", "leaving"])
def test_a_process_that_is_killed_on_its_way(tmp_path: Path, model: tuple[str, ...], moment: str) -> None:
    with served(tmp_path, model) as serving, Connection(serving.address) as connection:
        serving.wait_line("all 2 processes serve")
        before = children(serving.process.pid)
        connection.send(build("/stuck"))
        serving.wait_line("begun")
        if moment == "loading":
            (tmp_path / "hang").touch()
            serving.signal(signal.SIGHUP)
            until(lambda: len(children(serving.process.pid)) == 3)
            (victim,) = children(serving.process.pid) - before
            os.kill(victim, signal.SIGKILL)
            serving.wait_line("the old processes keep serving")
            until(lambda: children(serving.process.pid) == before)
            (tmp_path / "hang").unlink()
            (tmp_path / "go").touch()
            assert connection.response().status == 200
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        if moment == "leaving":
            until(lambda: len(children(serving.process.pid)) == 3)
            (victim,) = children(serving.process.pid) & before
            os.kill(victim, signal.SIGKILL)
            serving.wait_line(f"process {victim} was killed by signal 9 before it had finished")
        until(lambda: len(children(serving.process.pid)) == 2)
        assert not before & children(serving.process.pid)
        assert answered_by(serving.address) in children(serving.process.pid)


def test_a_stopped_process_is_killed_once_its_time_is_over(tmp_path: Path, model: tuple[str, ...]) -> None:
    with served(tmp_path, model, "--graceful-timeout", "500ms") as serving:
        serving.wait_line("all 2 processes serve")
        before = children(serving.process.pid)
        victim = min(before)
        stop(victim)
        since = time.monotonic()
        serving.signal(signal.SIGHUP)
        serving.wait_line(f"killing process {victim}: it has not finished in time")
        assert time.monotonic() - since > 0.5
        until(lambda: len(children(serving.process.pid)) == 2)
        assert not before & children(serving.process.pid)
        assert answered_by(serving.address)


def test_requests_lost_with_a_process_are_logged_at_the_end(tmp_path: Path) -> None:
    options = ("--graceful-timeout", "500ms", "--workers", "1")
    with Serving(tmp_path, APP + "PROCESS = False\n", *options) as serving, ExitStack() as stack:
        serving.wait_line("1 process serves")
        waiting = [stack.enter_context(Connection(serving.address)) for _ in range(3)]
        for connection in waiting:
            connection.send(build("/stuck"))
        serving.wait_lines("begun", 3)
        (victim,) = children(serving.process.pid)
        stop(victim)
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert serving.lines[-1].endswith("none cut off; 3 connections lost with processes that died")


def test_others_accept_while_a_process_is_stopped(tmp_path: Path, model: tuple[str, ...]) -> None:
    """Load is shared by number of connections: one that takes none must not be waited for."""
    with served(tmp_path, model) as serving, ExitStack() as stack:
        serving.wait_line("all 2 processes serve")
        victim = min(children(serving.process.pid))
        stop(victim)
        for _ in range(40):
            connection = stack.enter_context(Connection(serving.address))
            connection.send(build("/"))
            assert connection.response().status == 200
        os.kill(victim, signal.SIGCONT)


def test_words_for_a_process_that_does_not_read_are_kept(tmp_path: Path, model: tuple[str, ...]) -> None:
    """So many that they do not fit between two processes; the last is the one that counts."""
    with served(tmp_path, model, workers=1) as serving, Connection(serving.address) as connection:
        serving.wait_line("1 process serves")
        (own,) = children(serving.process.pid)
        connection.send(build("/stuck"))
        serving.wait_line("begun")
        stop(own)
        for number in range(1000):
            serving.signal((signal.SIGUSR1, signal.SIGCHLD)[number % 2])
            time.sleep(0.0005)  # signals of one kind that wait are one
        serving.signal(signal.SIGTERM)
        serving.wait_line("drains")
        os.kill(own, signal.SIGCONT)
        (tmp_path / "go").touch()
        since = time.monotonic()
        assert connection.response().status == 200
        assert serving.exit_code() == 0
        assert time.monotonic() - since < QUICK_S
        assert not errors(serving)


# A user whose number of processes can be limited, as root's cannot; it may read the application.
USER = 54_321
SOMEBODY = (
    *("setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)


@pytest.mark.parametrize("kind", [resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE])
def test_a_system_that_gives_no_process_is_asked_again(tmp_path: Path, kind: int) -> None:
    under = SOMEBODY if kind == resource.RLIMIT_NPROC else ()
    if os.getuid() != 0 or shutil.which("setpriv") is None or shutil.which("prlimit") is None:
        pytest.skip("only root, with setpriv and prlimit, gives the server a user of its own")
    text = APP + "PROCESS = False\n"
    with Serving(tmp_path, text, "--workers", "2", under=under) as serving:
        serving.wait_line("all 2 processes serve")
        supervisor = serving.process.pid
        victim, other = children(supervisor)
        most = 1 if kind == resource.RLIMIT_NPROC else first_free_descriptor(supervisor)
        with limited(supervisor, kind, most, USER if under else None):
            os.kill(victim, signal.SIGKILL)
            serving.wait_line("cannot start a serving process")
            assert answered_by(serving.address) == other
            serving.signal(signal.SIGHUP)
            serving.wait_lines("cannot start a serving process", 2)
            assert children(supervisor) == {other}
            assert answered_by(serving.address) == other
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        assert answered_by(serving.address) in children(supervisor)


def test_a_pidfile_whose_directory_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with served(tmp_path, (), "--pidfile", str(folder / "pid")) as serving:
        serving.wait_line("all 2 processes serve")
        (folder / "pid").unlink()
        folder.rmdir()
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        (line,) = errors(serving)
        assert f"the pidfile is gone: --pidfile: {folder / 'pid'} cannot be written" in line


def settings_file(tmp_path: Path, *binds: tuple[str, int]) -> None:
    names = ", ".join(f'"{host}:{port}"' for host, port in binds)
    (tmp_path / "halfsync.toml").write_text(f"bind = [{names}]\nworkers = 2\n")


def free_address() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as some:
        address: tuple[str, int] = some.getsockname()
    return address


@contextmanager
def serving_on(tmp_path: Path, model: tuple[str, ...], *binds: tuple[str, int]) -> Iterator[Serving]:
    """Serve on the bind that a file names; a reload reads it again."""
    settings_file(tmp_path, *binds)
    text = APP + f"PROCESS = {'process' in model}\nSPIN_US = 0\n"
    with Serving(tmp_path, text, *model, bind="") as serving:
        serving.wait_line("all 2 processes serve")
        yield serving


def test_a_reload_with_a_bind_that_is_taken_changes_nothing(tmp_path: Path) -> None:
    first, new = free_address(), free_address()
    with serving_on(tmp_path, (), first) as serving, socket.create_server(("127.0.0.1", 0)) as other:
        own = children(serving.process.pid)
        settings_file(tmp_path, first, new, other.getsockname())
        serving.signal(signal.SIGHUP)
        assert "in use" in serving.wait_line("the reload failed").lower()
        assert children(serving.process.pid) == own
        assert refuses(new)  # what could be opened is closed again
        assert answered_by(first) in own


def test_a_reload_that_fails_leaves_no_new_bind_behind(tmp_path: Path) -> None:
    first, new = free_address(), free_address()
    with serving_on(tmp_path, (), first) as serving:
        text = (tmp_path / "served.py").read_text()
        (tmp_path / "served.py").write_text("raise RuntimeError('half written')")
        settings_file(tmp_path, first, new)
        serving.signal(signal.SIGHUP)
        serving.wait_line("the old processes keep serving")
        until(lambda: refuses(new))
        (tmp_path / "served.py").write_text(text)
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        assert answered_by(new) in children(serving.process.pid)


def test_a_reload_without_a_bind_answers_its_backlog(tmp_path: Path, model: tuple[str, ...]) -> None:
    kept, gone = free_address(), free_address()
    with serving_on(tmp_path, model, kept, gone) as serving, ExitStack() as stack:
        own = children(serving.process.pid)
        for pid in own:
            stop(pid)
        waiting = [stack.enter_context(Connection(gone)) for _ in range(20)]
        for connection in waiting:
            connection.send(build("/"))
        settings_file(tmp_path, kept)
        serving.signal(signal.SIGHUP)
        assert answered_by(kept) not in own
        for pid in own:
            os.kill(pid, signal.SIGCONT)
        serving.wait_line("the reload is complete")
        known = own | children(serving.process.pid)  # an old one may hand a connection off to a new one
        for connection in waiting:
            assert int(connection.response().body) in known
        until(lambda: refuses(gone))
        until(lambda: not own & children(serving.process.pid))
        assert answered_by(kept) in children(serving.process.pid)
        assert not listens(serving.process.pid, gone[1])
        assert not errors(serving)
