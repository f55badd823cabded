"""CPU and memory accounting, on processes that burn a known time."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench import proc
from halfsync.lab.kernel import pids_of

BURNED_S = 0.3
BURN = f"""
import os, sys, threading, time

def burn():
    end = time.thread_time() + {BURNED_S}
    while time.thread_time() < end:
        pass

def wait(word):
    print(word, flush=True)
    sys.stdin.readline()

wait("ready")
"""
DONE = 'wait("done")\n'
IN_ITSELF = BURN + "burn()\n" + DONE
IN_ENDED_THREADS = (
    BURN + "for _ in range(2):\n t = threading.Thread(target=burn); t.start(); t.join()\n" + DONE
)
IN_A_REAPED_CHILD = BURN + "pid = os.fork()\nif not pid:\n burn(); os._exit(0)\nos.waitpid(pid, 0)\n" + DONE
IN_A_LIVING_CHILD = (
    BURN + "pid = os.fork()\nif not pid:\n burn(); wait('done'); os._exit(0)\nos.waitpid(pid, 0)\n"
)
IN_MANY_CHILDREN = (
    BURN
    + f"""
for _ in range(100):
    pid = os.fork()
    if not pid:
        while time.thread_time() < {BURNED_S / 100}:
            pass
        os._exit(0)
    os.waitpid(pid, 0)
"""
    + DONE
)
IN_A_ZOMBIE = (
    BURN
    + "pid = os.fork()\nif not pid:\n burn(); os._exit(0)\n"
    + "os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)\n"
    + DONE
)


@contextmanager
def burner(script: str) -> Iterator[tuple[int, proc.Cpu]]:
    """A session whose processes ran a script as far as its "done", and what they had used when "ready"."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=pipe, stdout=pipe, start_new_session=True
    )
    assert process.stdin and process.stdout
    try:
        assert process.stdout.readline() == b"ready\n"
        before = proc.session_cpu(process.pid)
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"
        yield process.pid, before
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
        (IN_A_ZOMBIE, BURNED_S),
    ],
    ids=["itself", "threads that ended", "a child that was reaped", "a child that lives", "a zombie"],
)
def test_the_time_that_a_session_burns_is_counted_once(script: str, burned_s: float) -> None:
    with burner(script) as (session, before):
        cpu = proc.session_cpu(session) - before
    # What was reaped is known in ticks of 10 ms only, of user and of system time, as is the figure beside it.
    assert burned_s - 0.03 < cpu.clock_s < burned_s + 0.1
    assert cpu.ticks_s == pytest.approx(cpu.clock_s, abs=0.06)


def test_children_that_live_for_less_than_a_tick_are_counted() -> None:
    with burner(IN_MANY_CHILDREN) as (session, before):
        cpu = proc.session_cpu(session) - before
    # Each burns 3 ms; to fork and to end come on top, and depend on the machine.
    assert BURNED_S - 0.03 < cpu.clock_s < BURNED_S + 1


def test_the_difference_of_two_snapshots_is_the_time_between() -> None:
    assert proc.Cpu(5.0, 4.5) - proc.Cpu(3.0, 3.5) == proc.Cpu(2.0, 1.0)


def test_a_session_is_its_leader_and_its_children() -> None:
    with burner(IN_A_LIVING_CHILD) as (session, _):
        pids = pids_of(session)
        memory = proc.session_memory(session)
    assert session in pids
    assert len(pids) == 2
    # Two interpreters share most pages: counted twice in one figure, once in the other.
    assert memory.rss_kb > 1.3 * memory.pss_kb > 0
    assert memory.pss_kb > memory.anon_kb > 0
    assert pids_of(session) == []


def test_a_listener_is_known_by_its_session() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert proc.listens(os.getsid(0), port)
        with burner(IN_ITSELF) as (session, _):
            assert not proc.listens(session, port)
