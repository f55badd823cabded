"""What processes cost: on processes that burn a known time, are switched, or hold memory."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from halfsync.lab import kernel
from halfsync.lab.kernel import Cost, Cpu

BURNED_S = 0.3
BEGIN = f"""
import os, sys, threading, time

def burn(seconds={BURNED_S}):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass

def wait(word):
    print(word, flush=True)
    sys.stdin.readline()

wait("ready")
"""
END = '\nwait("done")\n'
CHILD = "pid = os.fork()\nif not pid:\n burn(); os._exit(0)\n"
BURNERS = {
    "in itself": "burn()",
    "in an ended thread": "t = threading.Thread(target=burn); t.start(); t.join()",
    "in a reaped child": f"{CHILD}os.waitpid(pid, 0)",
    "in a zombie": f"{CHILD}os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)",
    "in many children": f"""
for _ in range(50):
    pid = os.fork()
    if not pid:
        burn({BURNED_S / 50}); os._exit(0)
    os.waitpid(pid, 0)
""",
}
# A child that is forked costs a few ms too, on a busy machine more; each forked child's own time is small beside it.
OVERHEAD_S = 0.25


@contextmanager
def running(script: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a session of its own; the body begins when it waits for the first time."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + script + END],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        hear(process, "ready")
        yield process
    finally:
        for pid in kernel.pids_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def hear(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == word + "\n"


def go_on(process: subprocess.Popen[str], word: str = "done") -> None:
    """Let it go on until it waits again."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    hear(process, word)


@pytest.mark.parametrize("script", BURNERS.values(), ids=BURNERS)
def test_processor_time_is_counted_wherever_it_was_used(script: str) -> None:
    with running(script) as process:
        before = kernel.cost_of(process.pid)
        go_on(process)
        cost = kernel.cost_of(process.pid) - before
    tick_s = 2 / kernel.TICKS_PER_S
    assert BURNED_S - tick_s <= cost.cpu_s <= BURNED_S + OVERHEAD_S
    assert cost.user_s + cost.system_s == pytest.approx(cost.cpu_s, abs=3 * tick_s)


def test_switches_are_those_of_all_threads() -> None:
    script = """
def sleep():
    for _ in range(50):
        time.sleep(0.001)
    gate.wait()
gate = threading.Event()
threads = [threading.Thread(target=sleep) for _ in range(3)]
for t in threads: t.start()
wait("slept")
gate.set()
"""
    with running(script) as process:
        go_on(process, "slept")
        kernel.settle(process.pid)
        assert kernel.cost_of(process.pid).voluntary >= 150
        # Those of threads that have ended are not shown.
        go_on(process)
        assert kernel.cost_of(process.pid).voluntary < 150


def test_a_whole_life_has_what_ended_in_it() -> None:
    command = [sys.executable, "-c", "import time, os, threading\nfor _ in range(60): time.sleep(0.001)"]
    before = kernel.cost_of_usage(resource.getrusage(resource.RUSAGE_CHILDREN))
    subprocess.run(command, check=True)
    cost = kernel.cost_of_usage(resource.getrusage(resource.RUSAGE_CHILDREN)) - before
    assert cost.voluntary >= 60
    assert cost.cpu_s == pytest.approx(cost.user_s + cost.system_s)


def test_costs_are_subtracted_field_by_field() -> None:
    assert Cost(3.0, 2.0, 1.0, 10, 5) - Cost(1.0, 0.5, 0.5, 4, 2) == Cost(2.0, 1.5, 0.5, 6, 3)


def test_memory_that_is_held_is_seen() -> None:
    size = 64 << 20
    with running(f"data = bytearray({size})") as process:
        before = kernel.memory_of(process.pid)
        go_on(process)
        after = kernel.memory_of(process.pid)
    # Of what it had before, a little may go.
    assert 0.95 * size <= after.pss_bytes - before.pss_bytes < 1.2 * size
    assert 0.95 * size <= after.private_bytes - before.private_bytes < 1.2 * size
    # A page of entries of 8 bytes each for every 2 MiB, unless the pages are huge ones.
    assert 0 <= after.page_table_bytes - before.page_table_bytes < 1 << 20
    assert min(before.page_table_bytes, before.slab_bytes, before.stack_bytes) > 0


def test_pages_that_children_share_are_divided() -> None:
    size = 64 << 20
    script = f"data = bytearray({size})\nwait('held')\npid = os.fork()\nif not pid:\n time.sleep(60)\n"
    with running(script) as process:
        go_on(process, "held")
        alone = kernel.memory_of(process.pid)
        go_on(process)
        shared = kernel.memory_of(process.pid)
        assert len(kernel.pids_of(process.pid)) == 2
    assert shared.pss_bytes < alone.pss_bytes + size / 2
    assert shared.private_bytes < size
    assert shared.page_table_bytes > alone.page_table_bytes


def test_a_session_that_is_gone_costs_nothing_more() -> None:
    with running("") as process:
        session = process.pid
    assert kernel.cost_of(session) == Cost(0.0, 0.0, 0.0, 0, 0)
    assert kernel.memory_of(session).pss_bytes == 0


def test_settling_waits_for_what_is_under_way() -> None:
    with running("threading.Thread(target=burn, args=(0.5,)).start()") as process:
        before = kernel.cost_of(process.pid).cpu_s
        go_on(process)
        assert kernel.settle(process.pid, 60.0)
        assert kernel.cost_of(process.pid).cpu_s - before >= 0.5


def test_settling_has_an_end() -> None:
    with running("threading.Thread(target=burn, args=(60,)).start()") as process:
        go_on(process)
        began = time.monotonic()
        assert not kernel.settle(process.pid, 0.3)
        assert time.monotonic() - began >= 0.3


def test_what_is_started_while_pinned_stays_so() -> None:
    before = os.sched_getaffinity(0)
    cpu = min(before)
    with kernel.pinned({cpu}):
        assert os.sched_getaffinity(0) == {cpu}
        with running("") as process:
            assert os.sched_getaffinity(process.pid) == {cpu}
    assert os.sched_getaffinity(0) == before
    with kernel.pinned(None):
        assert os.sched_getaffinity(0) == before


def test_an_idle_session_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [([1, 2], 0.0), ([1], 0.3), ([1], 0.35), ([1], 0.351), ([1], 9.0)]
    seen: list[tuple[list[int], float]] = []

    def pids(session: int) -> list[int]:
        seen.append(looks[len(seen)])
        return seen[-1][0]

    monkeypatch.setattr(kernel, "pids_of", pids)
    monkeypatch.setattr(kernel, "cpu_of", lambda session: Cpu(seen[-1][1], 0.0, 0.0))
    monkeypatch.setattr(kernel, "SETTLE_LOOK_S", 0.02)
    assert kernel.settle(1)
    assert seen == looks[:4]  # first a child ended, then one was busy


def test_waiting_for_a_session_that_never_settles_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter(range(10**6))
    monkeypatch.setattr(kernel, "pids_of", lambda session: [1])
    monkeypatch.setattr(kernel, "cpu_of", lambda session: Cpu(next(used), 0.0, 0.0))
    monkeypatch.setattr(kernel, "SETTLE_LOOK_S", 0.001)
    assert not kernel.settle(1, 0.02)
    assert next(used) > 1
