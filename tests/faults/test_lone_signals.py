"""Signals for a supervisor, in a server without one; and a server whose terminal closes."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import EXIT_TIMEOUT_S, MODELS, Serving, environment
from tests.wsgi import until

APP = """
import sys
def app(environ, start_response):
    if environ["PATH_INFO"] == "/reads":
        sys.stdin.readline()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
EXPLAINED = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def test_what_takes_a_supervisor_is_explained(tmp_path: Path, model: tuple[str, str]) -> None:
    with Serving(tmp_path, APP, *model) as serving, Connection(serving.address) as kept:
        for number in EXPLAINED:
            kept.send(build("/"))
            assert kept.response().status == 200
            serving.signal(number)
            assert "needs a supervisor; start the server with workers" in serving.wait_line(
                f"{number.name} is ignored"
            )
        kept.send(build("/"))
        assert kept.response().status == 200
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


BLOCKED = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=["lone", "supervised"])
def test_signals_that_the_parent_program_blocks_reach_the_server(
    tmp_path: Path, model: tuple[str, str], workers: tuple[str, ...]
) -> None:
    few = ("--max-children", "1") if "process" in model else ()
    with Serving(tmp_path, APP, *model, *few, *workers, under=(sys.executable, "-c", BLOCKED)) as serving:
        for _ in range(3):  # each child is reaped before the next is forked
            assert fetch(serving.address, fields=[("Connection", "close")]).status == 200
        if workers:
            serving.signal(signal.SIGHUP)
            serving.wait_line("the reload is complete")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


@pytest.mark.parametrize("number", EXPLAINED)
def test_signals_to_the_whole_group_cost_no_connection(
    tmp_path: Path, model: tuple[str, str], number: signal.Signals
) -> None:
    with Serving(tmp_path, APP, *model) as serving, Connection(serving.address) as kept:
        kept.send(build("/"))
        assert kept.response().status == 200
        os.killpg(serving.process.pid, number)
        serving.wait_line(f"{number.name} is ignored")
        kept.send(build("/"))
        assert kept.response().status == 200


@pytest.mark.parametrize("number", EXPLAINED)
def test_a_handler_of_the_application_stays(tmp_path: Path, number: signal.Signals) -> None:
    own = f"""
import os, signal
signal.signal({int(number)}, lambda *_: os.write(2, b"of the application\\n"))
"""
    with Serving(tmp_path, own + APP, "--threads", "1") as serving:
        serving.signal(number)
        serving.wait_line("of the application")
        assert fetch(serving.address).status == 200
        assert not [line for line in serving.lines if "is ignored" in line]


@pytest.mark.parametrize("chain", [False, True], ids=["alone", "chained"])
def test_a_native_handler_of_the_application_stays(
    tmp_path: Path, model: tuple[str, str], chain: bool
) -> None:
    """Python's table does not know it. If it is chained, it calls what the signal had before."""
    own = f"""
import faulthandler
for number in {[int(number) for number in EXPLAINED]}:
    # Of this thread only: faulthandler does not stop the others, and may crash as it reads their frames.
    faulthandler.register(number, open(f"told {{number}}", "w"), all_threads=False, chain={chain})
"""

    def told(number: signal.Signals) -> str:
        serving.signal(number)  # again, if another thread was writing
        return (tmp_path / f"told {number}").read_text()

    with Serving(tmp_path, own + APP, *model) as serving:
        for number in EXPLAINED:
            until(lambda number=number: "most recent call first" in told(number))  # type: ignore[misc]
            assert fetch(serving.address).status == 200
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not [line for line in serving.lines if "is ignored" in line]


# Before the server serves, and after it has.

SLOW = """
import atexit, os, time
def pause(line):
    os.write(2, line)
    while not os.path.exists("go"):
        time.sleep(0.01)
"""
LOADING = SLOW + 'pause(b"loading\\n")\n' + APP
EXITING = SLOW + 'atexit.register(pause, b"exiting\\n")\n' + APP


def test_signals_while_it_loads_are_explained_when_it_serves(tmp_path: Path, model: tuple[str, str]) -> None:
    serving = Serving(tmp_path, LOADING, *model)
    serving.wait_line("loading")
    for number in (*EXPLAINED, signal.SIGUSR1):
        serving.signal(number)
    (tmp_path / "go").touch()
    with serving:
        for number in EXPLAINED:
            serving.wait_line(f"{number.name} is ignored")
        assert fetch(serving.address).status == 200


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTTIN, signal.SIGUSR1])
@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["loads", "preloads"])
def test_signals_while_a_supervisors_application_loads_do_not_end_it(
    tmp_path: Path, options: tuple[str, ...], number: signal.Signals
) -> None:
    serving = Serving(tmp_path, LOADING, "--workers", "1", *options)
    serving.wait_line("loading")
    serving.signal(number)
    (tmp_path / "go").touch()
    with serving:
        if number == signal.SIGHUP:
            serving.wait_line("the reload is complete")
        if number == signal.SIGTTIN:
            serving.wait_line("2 serving processes are wanted")
        assert fetch(serving.address).status == 200


def test_signals_after_its_end_do_nothing(tmp_path: Path, model: tuple[str, str]) -> None:
    with Serving(tmp_path, EXITING, *model) as serving:
        serving.signal(signal.SIGTERM)
        serving.wait_line("exiting")
        for number in (*EXPLAINED, signal.SIGUSR1):
            serving.signal(number)
        (tmp_path / "go").touch()
        assert serving.exit_code() == 0
        assert serving.lines[-1] == "exiting"


AROUND_PIDFILE = """
import os, signal, sys
import halfsync
from halfsync.host.pidfile import PidFile
write, remove = PidFile.write, PidFile.remove

def write_and_signal(self):
    write(self)
    os.kill(os.getpid(), signal.SIGTERM)

def signal_and_remove(self):
    os.kill(os.getpid(), signal.SIGHUP)
    remove(self)

PidFile.write, PidFile.remove = write_and_signal, signal_and_remove
halfsync.serve(lambda environ, start_response: [], bind="127.0.0.1:0", pidfile="pid", model=sys.argv[1])
"""


def test_no_signal_leaves_the_pidfile_behind(tmp_path: Path, model: tuple[str, str]) -> None:
    name = model[1] if model[0] == "--model" else "proactor"
    subprocess.run(
        [sys.executable, "-c", AROUND_PIDFILE, name], cwd=tmp_path, env=environment(), check=True, timeout=60
    )
    assert not (tmp_path / "pid").exists()


def test_a_signal_that_was_ignored_at_the_start_stays_ignored(tmp_path: Path) -> None:
    with Serving(tmp_path, APP, under=("nohup",)) as serving:
        serving.signal(signal.SIGHUP)
        serving.signal(signal.SIGTTIN)
        serving.wait_line("SIGTTIN is ignored")
        assert not [line for line in serving.lines if "SIGHUP" in line]


# While it is loaded it blocks every signal, as a program does that waits for some in a thread of its own.
BLOCKING = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
"""


@pytest.mark.parametrize("options", [(), ("--workers", "1"), ("--workers", "1", "--preload")], ids=" ".join)
def test_signals_that_the_application_has_blocked_are_obeyed(
    tmp_path: Path, model: tuple[str, str], options: tuple[str, ...]
) -> None:
    with Serving(tmp_path, BLOCKING + APP, *model, *options) as serving:
        for _ in range(2):  # in the model process each request is a child, and its end is a signal
            assert fetch(serving.address, fields=[("Connection", "close")]).status == 200
        if options:
            serving.wait_line("1 process serves")
            serving.signal(signal.SIGHUP)
            serving.wait_line("the reload is complete")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not [line for line in serving.lines if "killing process" in line]


# A terminal, and what runs in it.

SERVERS: dict[str, tuple[str, ...]] = {
    **MODELS,
    "workers": ("--workers", "2"),
    "process-workers": ("--model", "process", "--workers", "2"),
    "reload": ("--reload",),
}


TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A terminal with a server in it: as the leader of its session, or as a job of a shell that is."""

    def __init__(
        self, directory: Path, options: Sequence[str], shell: str = "", application: str = APP
    ) -> None:
        (directory / "served.py").write_text(application)
        self.log = directory / "log"
        self.master, terminal = os.openpty()
        program = [sys.executable, "-m", "halfsync", "serve", "served:app", "-b", "unix:s", *options]
        command = ["bash", "--norc", "-ic", shell, "bash", *program] if shell else program
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", TAKE_TERMINAL, *command],
                cwd=directory,
                env=environment() | {"HISTFILE": "/dev/null"},
                stdin=terminal,
                stdout=terminal,
                stderr=log,
                start_new_session=True,
            )
        os.close(terminal)
        until(lambda: " serve" in self.text or "loading" in self.text, EXIT_TIMEOUT_S)

    @property
    def text(self) -> str:
        """What the server has written to its log."""
        return self.log.read_text()

    def close(self) -> None:
        """Close the terminal, as its window does."""
        os.close(self.master)
        self.master = -1

    def members(self) -> list[int]:
        """Return all processes of the session."""
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdecimal():
                with suppress(OSError):
                    if os.getsid(int(path.name)) == self.process.pid and "Z" not in state(int(path.name)):
                        found.append(int(path.name))
        return found


def state(pid: int) -> str:
    """Return the state of a process, as the kernel writes it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextmanager
def in_terminal(
    directory: Path, options: Sequence[str], shell: str = "", application: str = APP
) -> Iterator[Terminal]:
    """Serve in a terminal. All processes of its session are ended."""
    terminal = Terminal(directory, options, shell, application)
    try:
        yield terminal
    finally:
        for pid in terminal.members():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        terminal.process.wait()
        if terminal.master >= 0:
            os.close(terminal.master)


@pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS)
@pytest.mark.parametrize("shell", ["", '"$@"; exit 7'], ids=["leader", "job"])
def test_a_terminal_that_closes_ends_its_server(tmp_path: Path, options: tuple[str, ...], shell: str) -> None:
    if "--reload" in options:
        pytest.importorskip("watchfiles")
    with in_terminal(tmp_path, options, shell) as terminal:
        terminal.close()
        until(lambda: not terminal.members(), EXIT_TIMEOUT_S)
        assert "INFO halfsync: the terminal was closed" in terminal.text
        assert terminal.text.rstrip().endswith("halfsync stopped")
        assert "Traceback" not in terminal.text
        assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("options", [(), ("--workers", "1", "--preload")], ids=["alone", "preload"])
@pytest.mark.parametrize("shell", ["", '"$@"; exit 7', '"$@" & wait'], ids=["leader", "job", "background"])
def test_a_terminal_that_closes_while_its_server_loads_ends_it(
    tmp_path: Path, options: tuple[str, ...], shell: str
) -> None:
    with in_terminal(tmp_path, options, shell, LOADING) as terminal:
        terminal.close()
        until(lambda: not terminal.members(), EXIT_TIMEOUT_S)
        assert "Traceback" not in terminal.text


@pytest.mark.parametrize("options", [(), ("--workers", "1")], ids=["alone", "workers"])
def test_a_server_that_was_started_with_nohup_outlives_its_terminal(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with in_terminal(tmp_path, options, 'trap "" HUP; "$@"; exit 7') as terminal:
        terminal.close()
        until(lambda: not has_terminal(max(terminal.members())))
        (server,) = [pid for pid in terminal.members() if parent(pid) == terminal.process.pid]
        os.kill(server, signal.SIGUSR2 if not options else signal.SIGHUP)
        until(lambda: "SIGUSR2 is ignored" in terminal.text or "the reload is complete" in terminal.text)
        assert "the terminal was closed" not in terminal.text


def test_an_upgrade_keeps_nohup(tmp_path: Path) -> None:
    """The kernel sends SIGHUP to the group in the foreground as the shell ends: to the new program, if it is no job."""
    options = ("--workers", "1", "--pidfile", "pid")
    with in_terminal(tmp_path, options, 'set +m; trap "" HUP; "$@"; read line') as terminal:
        until(lambda: "1 process serves" in terminal.text)
        (old,) = [pid for pid in terminal.members() if parent(pid) == terminal.process.pid]
        os.kill(old, signal.SIGUSR2)
        until(lambda: "halfsync stopped" in terminal.text, EXIT_TIMEOUT_S)
        new = int((tmp_path / "pid").read_text())
        terminal.close()
        terminal.process.wait(EXIT_TIMEOUT_S)
        os.kill(new, signal.SIGHUP)
        until(lambda: "the reload is complete" in terminal.text)
        assert "the terminal was closed" not in terminal.text


def parent(pid: int) -> int:
    """Return the parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def has_terminal(pid: int) -> bool:
    """Tell whether a terminal controls a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4]) != 0


@pytest.mark.parametrize("gone", [False, True], ids=["there", "gone"])
def test_sighup_of_an_operator_is_an_order_with_and_without_a_terminal(tmp_path: Path, gone: bool) -> None:
    """A job in the background outlives its shell, and gets no signal then."""
    shell = '"$@" & disown -a; read line' if gone else ""
    with in_terminal(tmp_path, ("--workers", "1"), shell) as terminal:
        server = terminal.process.pid
        if gone:
            (server,) = [pid for pid in terminal.members() if parent(pid) == terminal.process.pid]
            os.write(terminal.master, b"\n")
            terminal.process.wait(EXIT_TIMEOUT_S)
            terminal.close()
            until(lambda: not has_terminal(server))
        os.kill(server, signal.SIGHUP)
        until(lambda: "the reload is complete" in terminal.text, EXIT_TIMEOUT_S)
        assert "the terminal was closed" not in terminal.text
        os.kill(server, signal.SIGTERM)
        until(lambda: "halfsync stopped" in terminal.text, EXIT_TIMEOUT_S)


@pytest.mark.parametrize("options", [(), ("--workers", "1")], ids=["alone", "workers"])
def test_a_job_in_the_background_that_uses_its_terminal_is_stopped_as_any_is(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    with (
        in_terminal(tmp_path, options, '"$@" & read line') as terminal,
        socket.socket(socket.AF_UNIX) as client,
    ):
        (server,) = [pid for pid in terminal.members() if parent(pid) == terminal.process.pid]
        client.connect(str(tmp_path / "s"))
        client.sendall(build("/reads"))
        until(lambda: state(server) == "T")
        assert "SIGTTIN" not in terminal.text and "wanted" not in terminal.text
