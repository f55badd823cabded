"""CPU and memory accounting, on processes that burn a known time."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import proc

BURNED_S = 0.3
BURN = f"""
import sys, threading, time
def burn():
    while time.thread_time() < {BURNED_S}:
        pass
"""
WAIT = "print('done', flush=True); sys.stdin.read()\n"
IN_ITSELF = BURN + "burn()\n" + WAIT
IN_ENDED_THREADS = (
    BURN + "for _ in range(2):\n t = threading.Thread(target=burn); t.start(); t.join()\n" + WAIT
)
IN_A_REAPED_CHILD = (
    BURN + "import os\npid = os.fork()\nif not pid:\n burn(); os._exit(0)\nos.waitpid(pid, 0)\n" + WAIT
)
IN_A_LIVING_CHILD = (
    BURN + "import os\npid = os.fork()\nif not pid:\n burn(); " + WAIT.replace("\n", "; os._exit(0)\n")
)
IN_A_LIVING_CHILD += "os.waitpid(pid, 0)\n"


@contextmanager
def burner(script: str) -> Iterator[int]:
    """A session whose processes run a script as far as its `done`, and end when the body does."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=pipe, stdout=pipe, start_new_session=True
    )
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == b"done\n"
        yield process.pid
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


@pytest.mark.parametrize(
    ("script", "burned_s"),
    [
        (IN_ITSELF, BURNED_S),
        (IN_ENDED_THREADS, 2 * BURNED_S),
        (IN_A_REAPED_CHILD, BURNED_S),
        (IN_A_LIVING_CHILD, BURNED_S),
    ],
    ids=["itself", "threads that ended", "a child that was reaped", "a child that lives"],
)
def test_the_time_that_a_session_burns_is_counted_once(script: str, burned_s: float) -> None:
    with burner(script) as session:
        cpu = proc.session_cpu(session)
    # The interpreter's own start is in it too; ticks are of 10 ms, for user and system, parent and child.
    assert burned_s * 0.97 < cpu.clock_s < burned_s + 0.25
    assert cpu.ticks_s == pytest.approx(cpu.clock_s, abs=0.06)


def test_the_difference_of_two_snapshots_is_the_time_between() -> None:
    assert proc.Cpu(5.0, 4.5) - proc.Cpu(3.0, 3.5) == proc.Cpu(2.0, 1.0)


def test_a_session_is_its_leader_and_its_children() -> None:
    with burner(IN_A_LIVING_CHILD) as session:
        pids = proc.session_pids(session)
        memory = proc.session_memory(session)
    assert session in pids
    assert len(pids) == 2
    # Two interpreters share most pages: counted twice in one figure, once in the other.
    assert memory.rss_kb > 1.3 * memory.pss_kb > 0
    assert proc.session_pids(session) == []


def test_a_listener_is_known_by_its_session() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert proc.listens(os.getsid(0), port)
        with burner(IN_ITSELF) as session:
            assert not proc.listens(session, port)


def test_pinned_restores_the_processors() -> None:
    before = os.sched_getaffinity(0)
    with proc.pinned(max(before)):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
