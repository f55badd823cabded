"""The native ping-pong switches, and touches what it is told to; its second side is gone when it has ended."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest

from halfsync.lab.pingpong import ping_pong

if TYPE_CHECKING:
    from halfsync.lab.pingpong import PingPong

CPUS = sorted(os.sched_getaffinity(0))
two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="there is one processor only")


@pytest.fixture(autouse=True)
def affinity() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def play(processes: bool, other_cpu: int = CPUS[0], set_bytes: int = 0, huge: bool = False) -> PingPong:
    return ping_pong(
        processes=processes,
        cpu=CPUS[0],
        other_cpu=other_cpu,
        set_bytes=set_bytes,
        huge=huge,
        windows=4,
        window_s=0.01,
    )


@pytest.mark.parametrize("processes", [False, True])
def test_each_turn_on_one_processor_is_a_switch(processes: bool) -> None:
    """A side that waits gives its processor up, or has been preempted at once by the one that it woke."""
    found = play(processes)
    assert found["turns"] >= 4 * 16
    assert len(found["turns_ns"]) == len(found["cpu_ns"]) == len(found["alone_ns"]) == 4
    assert 0.9 <= (found["voluntary"] + found["involuntary"]) / found["turns"] <= 1.5
    assert found["voluntary"] >= 0.4 * found["turns"]


@pytest.mark.parametrize("processes", [False, True])
def test_the_processor_is_used_for_no_longer_than_a_turn_takes(processes: bool) -> None:
    """On one processor only one side runs at a time. Both work as much as one does alone, and switch besides."""
    found = play(processes)
    for turn_ns, cpu_ns in zip(found["turns_ns"], found["cpu_ns"], strict=True):
        assert cpu_ns <= turn_ns * 1.01
    assert median(found["cpu_ns"]) > median(found["alone_ns"])


@two_cpus
@pytest.mark.parametrize("processes", [False, True])
def test_each_turn_across_processors_is_a_wait(processes: bool) -> None:
    found = play(processes, CPUS[1])
    assert 0.5 <= found["voluntary"] / found["turns"] <= 1.5


def test_the_kernel_counts_the_same_switches() -> None:
    """What is reported of both threads is what the kernel counts for the process."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = play(False)
    after = resource.getrusage(resource.RUSAGE_SELF)
    counted = after.ru_nvcsw - before.ru_nvcsw
    assert found["voluntary"] <= counted <= found["voluntary"] + 50


@pytest.mark.parametrize("huge", [False, True])
@pytest.mark.parametrize("processes", [False, True])
def test_a_large_working_set_takes_longer_with_a_switch_and_without(processes: bool, huge: bool) -> None:
    small, large = play(processes), play(processes, set_bytes=4 << 20, huge=huge)
    assert median(large["cpu_ns"]) > 3 * median(small["cpu_ns"])
    assert median(large["alone_ns"]) > 3 * median(small["alone_ns"])


@pytest.mark.parametrize("processes", [False, True])
def test_nothing_is_left(processes: bool) -> None:
    def here() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir()))

    before = here()
    play(processes, set_bytes=100_000)
    assert here() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("processes", [False, True])
def test_an_interrupt_ends_it(processes: bool) -> None:
    timer = threading.Timer(
        0.3, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            ping_pong(processes=processes, cpu=CPUS[0], other_cpu=CPUS[0], windows=6000, window_s=0.01)
        assert time.monotonic() - began < 30
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("processes", [False, True])
def test_a_processor_that_is_not_there_is_an_error(processes: bool) -> None:
    with pytest.raises(OSError, match="ping-pong"):
        play(processes, other_cpu=1023)
