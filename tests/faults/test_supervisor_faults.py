"""Whatever a step of the supervisor's loop raises: the fleet serves on, and obeys the signals that follow."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pytest

from tests.client import fetch
from tests.faults.serving import Serving, children, environment
from tests.supervisor.test_upgrade import end, pid_in
from tests.wsgi import until

APP = """
CODE = "first"
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [CODE.encode()]
"""
# What the loop calls while it reloads, replaces, reaps and obeys.
CALLED = {
    "halfsync.supervisor.supervisor:Supervisor": "_turn _start _wait _take_note _obey",
    "halfsync.supervisor.dispatcher:Dispatcher": "decide _do _use",
    "halfsync.supervisor.accepting:Accepting": "find_exclusive close_unneeded",
    "halfsync.supervisor.milestones:Milestones": "counts settled",
    "halfsync.supervisor.reloading:Reloads": "begin _begin _adopt use",
    "halfsync.supervisor.plans:Plans": "__getitem__ again _plan _plan_soon keep give_logs",
    "halfsync.supervisor.plans": "pin fleet_settings_of find_identity",
    "halfsync.host.pidfile": "move_pidfile",
    "halfsync.supervisor.service:Service": "reloading serves",
    "halfsync.supervisor.process_table:ProcessTable": (
        "start order_handoff tell_all listen _hear reap _on_exit look look_due recall"
    ),
    "halfsync.supervisor.fleet:Fleet": "decide due started ready quiesced ended recycle reload resize of",
    "halfsync.supervisor.channel:Channel": "pair tell go_on next close",
    "halfsync.supervisor.sockets:Sockets": "open keep",
    "halfsync.host.notify:Notifier": "beat reloading ready",
    "halfsync.supervisor.containment:Containment": "end_turn",
    "halfsync.runtime.signals:Signals": "wait",
    "halfsync.supervisor.process_table": "fork restore draw_requests recycle_reason",
    "halfsync.supervisor.process:Plan": "__init__",
    "halfsync.cli.supervised": "resolve change_to enter",
    "halfsync.host.directory:StartDirectory": "enter",
    "halfsync.runtime.forking": "flush_output",
    "halfsync.runtime.originals:os": "fork waitpid getcwd chdir",
    "halfsync.runtime.originals:signal": "pthread_sigmask",
    "logging:Logger": "log",
}
# What it may have done already as it fails.
LATE = {
    "halfsync.supervisor.supervisor:Supervisor": "_wait",
    "halfsync.supervisor.dispatcher:Dispatcher": "_use",
    "halfsync.supervisor.milestones:Milestones": "counts settled",
    "halfsync.supervisor.reloading:Reloads": "_begin _adopt use",
    "halfsync.supervisor.plans:Plans": "again _plan keep",
    "halfsync.supervisor.process_table:ProcessTable": "_hear _on_exit",
    "halfsync.supervisor.fleet:Fleet": "decide ready ended started",
    "halfsync.supervisor.channel:Channel": "tell close",
}
# What it calls as it ends.
ENDING = {
    "halfsync.supervisor.supervisor": "farewell draining",
    "halfsync.supervisor.supervisor:Supervisor": "_turn _obey _end _close",
    "halfsync.supervisor.dispatcher:Dispatcher": "_do",
    "halfsync.supervisor.accepting:Accepting": "close_unneeded",
    "halfsync.supervisor.process_table:ProcessTable": "tell close reap _on_exit",
    "halfsync.supervisor.fleet:Fleet": "drain decide ended",
    "halfsync.supervisor.sockets:Sockets": "close",
    "halfsync.host.notify:Notifier": "stopping",
    "halfsync.supervisor.service:Service": "stopping",
    "halfsync.host.pidfile:PidFile": "remove",
    "halfsync.runtime.signals:Signals": "wait __exit__",
    "halfsync.supervisor.takeover:Takeover": "turn due may_end close takes_term",
}
# What it calls for another program in its place, up to where that serves.
UPGRADING = {
    "halfsync.supervisor.takeover": "start_successor",
    "halfsync.supervisor.upgrade": "fork restore",
    "halfsync.supervisor.programs:PeerProgram": "listen tell",
    "halfsync.supervisor.channel:Channel": "pair",
    "halfsync.supervisor.fleet:Fleet": "retire",
    "halfsync.supervisor.sockets:Sockets": "own",
    "halfsync.host.notify:Notifier": "pass_on",
    "halfsync.host.pidfile:PidFile": "remove",
    "halfsync.supervisor.takeover:Takeover": "begin turn _lead _pass may_end close",
}
# What it calls for `reload`.
DEVELOPING = {
    "halfsync.supervisor.reloading:Reloads": "renew _adopt",
    "halfsync.supervisor.plans:Plans": "again",
    "halfsync.supervisor.development.child:Development": "changed announce quiesced ended _tell",
    "halfsync.supervisor.fleet:Fleet": "reload",
}
ERRORS = ("OSError", "MemoryError", "BlockingIOError", "RuntimeError")


def cases(called: dict[str, str], when: str = "") -> list[str]:
    """Return each of these functions, with what it shall raise."""
    errors = cycle(ERRORS)
    places = [(holder, name) for holder, names in called.items() for name in names.split()]
    return [f"{when}{holder}{'.' if ':' in holder else ':'}{name} {next(errors)}" for holder, name in places]


def raising(directory: Path, case: str, *options: str) -> Serving:
    """Serve with a function that raises once the file "raise" is made."""
    path = os.pathsep.join([str(Path(__file__).parent / "raising"), environment()["PYTHONPATH"]])
    more = {"RAISING": case, "RAISING_FILE": str(directory / "raise"), "PYTHONPATH": path}
    return Serving(directory, APP, *options, more=more)


def see_it_serve(serving: Serving, directory: Path, code: str) -> None:
    """See that a reload brings this code to as many processes as there should be."""
    before = children(serving.process.pid)
    (directory / "served.py").write_text(APP.replace("first", code))
    serving.signal(signal.SIGHUP)
    until(lambda: fetch(serving.address).body.decode() == code)
    until(
        lambda: (
            len(children(serving.process.pid) - before) == 2 and not before & children(serving.process.pid)
        )
    )
    assert {fetch(serving.address).body.decode() for _ in range(10)} == {code}


def wait_for_another(serving: Serving, before: set[int], armed: Path) -> None:
    """Wait until there is a process that was not there before, or what was to raise has raised."""
    until(lambda: not armed.exists() or children(serving.process.pid) - before)


def resize(serving: Serving, number: signal.Signals) -> None:
    """Ask for one process more, or fewer, and wait for what comes of it.

    The kernel makes one of two such signals that wait, and one process is the least: so the order counts, too.
    """
    before = len(serving.lines)
    serving.signal(number)
    with suppress(AssertionError):
        until(
            lambda: [line for line in serving.lines[before:] if "wanted" in line or "failed: " in line], 3.0
        )


def stir(serving: Serving, armed: Path) -> None:
    """Give the supervisor something to do of each kind, until what was to raise has raised."""
    deadline = time.monotonic() + 30
    while armed.exists():
        assert time.monotonic() < deadline, "it was never called"
        own = children(serving.process.pid)
        with suppress(ProcessLookupError):
            os.kill(min(own), signal.SIGKILL)
            os.kill(max(own), signal.SIGTERM)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP):
            if number in (signal.SIGTTIN, signal.SIGTTOU):
                resize(serving, number)
            else:
                serving.signal(number)
            wait_for_another(serving, own, armed)
            assert fetch(serving.address).body == b"first"
        with suppress(AssertionError):  # a moment of peace, in which a reload can become complete
            until(lambda: not armed.exists() or "complete" in serving.lines[-1], 3.0)


@pytest.mark.parametrize("case", [*cases(CALLED), *cases(LATE, "late ")])
def test_what_a_step_raises_ends_nothing(tmp_path: Path, case: str) -> None:
    armed = tmp_path / "raise"
    with raising(tmp_path, case, "--workers", "2", "--max-requests", "100000") as serving:
        serving.wait_line("all 2 processes serve")
        armed.touch()
        stir(serving, armed)
        if (
            "resize" in case or "_obey" in case
        ):  # of two signals that came at once, either may have been first
            lost = serving.wait_line("raised by a test")
            for number in (signal.SIGTTIN, signal.SIGTTOU):
                if number.name in lost:
                    resize(serving, number)
        see_it_serve(serving, tmp_path, "second")
        own = children(serving.process.pid)
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0, serving.lines
        assert not [pid for pid in own if Path(f"/proc/{pid}").exists()]
        if not case.startswith(
            ("logging", "halfsync.runtime.originals:os.chdir")
        ):  # which is what tells, and what there is a second way for
            assert [line for line in serving.lines if "raised by a test" in line], serving.lines


@pytest.mark.parametrize("case", cases(ENDING))
def test_what_a_step_raises_at_the_end_does_not_keep_it_from_ending(tmp_path: Path, case: str) -> None:
    armed = tmp_path / "raise"
    with raising(tmp_path, case, "--workers", "2", "--pidfile", str(tmp_path / "pid")) as serving:
        serving.wait_line("all 2 processes serve")
        own = children(serving.process.pid)
        armed.touch()
        serving.signal(signal.SIGTERM)
        until(lambda: not armed.exists())
        try:
            serving.process.wait(3)
        except subprocess.TimeoutExpired:
            serving.signal(signal.SIGTERM)  # the first was not understood
        assert serving.exit_code() == 0, serving.lines
        assert not [pid for pid in own if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("case", cases(UPGRADING))
def test_what_a_step_of_an_upgrade_raises_ends_nothing(tmp_path: Path, case: str) -> None:
    armed, pidfile = tmp_path / "raise", tmp_path / "pid"
    with raising(tmp_path, case, "--workers", "1", "--pidfile", str(pidfile)) as serving:
        serving.wait_line("1 process serves")
        armed.touch()
        serving.signal(signal.SIGUSR2)
        until(lambda: not armed.exists(), 30)  # some is called at its end only
        serving.wait_line("raised by a test")
        assert fetch(serving.address).body == b"first"
        until(lambda: pid_in(pidfile))
        if not [line for line in serving.lines if "its processes are shutting down" in line]:
            serving.signal(signal.SIGUSR2)  # unless it goes on by itself
        assert serving.process.wait(30) == 0
        until(lambda: pid_in(pidfile) not in (0, serving.process.pid))
        assert fetch(serving.address).body == b"first"
        end(pid_in(pidfile))


@pytest.mark.parametrize("case", cases(DEVELOPING))
def test_what_a_step_raises_in_development_loses_no_change(tmp_path: Path, case: str) -> None:
    pytest.importorskip("watchfiles")
    armed = tmp_path / "raise"
    with raising(tmp_path, case, "--reload") as serving:
        serving.wait_line("1 process serves")
        assert fetch(serving.address).body == b"first"
        armed.touch()
        (tmp_path / "served.py").write_text(APP.replace("first", "second"))
        until(lambda: not armed.exists())
        until(lambda: fetch(serving.address).body == b"second")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0, serving.lines
