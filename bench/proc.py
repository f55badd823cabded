"""What processes cost, read from the kernel: CPU time and memory of a whole session of processes.

Three clocks say how much CPU a process has used, and two of them are too coarse or too narrow here:

- `utime + stime` in /proc/PID/stat is right but counted in ticks of 10 ms;
- /proc/PID/task/TID/schedstat is in nanoseconds but forgets a thread when it ends;
- the process's CPU clock, which `clock_getcpuclockid(3)` names for any process, is in nanoseconds and keeps
  the threads that have ended. This module uses it, and records the tick figure beside it as a check.

Children that have ended and were waited for are found only in their parent's `cutime + cstime`, in ticks. A
child that is alive in one snapshot and reaped in the next moves from its own clock into that figure, so that
the difference of two snapshots is right either way. So does one that has ended and waits to be reaped: until then
its own clock can be read. The kernel adds up what it reaps in nanoseconds and only shows it in ticks, so that
thousands of children that each lived for less than a tick are counted to within two ticks. A child that ends while
a snapshot is taken may be missed: `settle` first. (A parent that ignores SIGCHLD loses its children's time; no
server here does.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""
SETTLE_LOOK_S = 0.05
SETTLED_SHARE = 0.1
"""The share of a processor below which a session counts as idle; some turn a loop now and then."""
SETTLE_S = 10
"""How long a session may take for that: to begin and end a thousand processes takes some seconds."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds used: by the CPU clocks, and by the kernel's tick counters as a check."""

    clock_s: float
    ticks_s: float

    def __sub__(self, earlier: Cpu) -> Cpu:
        return Cpu(self.clock_s - earlier.clock_s, self.ticks_s - earlier.ticks_s)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in KB: `rss` counts a page shared by processes in each of them, `pss` shares it out.

    `anon` is the part of `pss` that is no file's, so that it does not change when another program maps the same
    libraries, or ends.
    """

    rss_kb: int
    pss_kb: int
    anon_kb: int


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on, or None if the process is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    return text[text.rindex(")") + 2 :].split()


def session_pids(session: int) -> list[int]:
    """The processes of a session. It holds orphans too, which a walk from parent to child would miss."""
    pids = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[3]) == session:
                pids.append(int(entry.name))
    return sorted(pids)


def cpu_clock_s(pid: int) -> float:
    """CPU seconds of one process with all its threads, ended ones included. OSError if it is gone."""
    # The encoding of clock_getcpuclockid(3), part of the kernel's ABI: the pid's complement, and 2 for the
    # scheduler's clock.
    return time.clock_gettime((~pid << 3) | 2)


def session_cpu(session: int) -> Cpu:
    """CPU used so far by a session's processes and by the children they have reaped."""
    clock_s = ticks_s = 0.0
    for pid in session_pids(session):
        fields = _stat(pid)
        if fields is None:
            continue
        own, reaped = (sum(map(int, fields[at : at + 2])) / TICKS_PER_S for at in (11, 13))
        try:
            clock_s += cpu_clock_s(pid) + reaped
        except OSError:
            continue
        ticks_s += own + reaped
    return Cpu(clock_s, ticks_s)


def settle(session: int) -> None:
    """Wait, for a while at most, until a session does nothing: two looks see the same processes, and no CPU used.

    A load's end is not its server's. Children end and are reaped; whoever still waited in the backlog is accepted
    after having left, and gets a process all the same.
    """
    deadline = time.monotonic() + SETTLE_S
    before: list[int] = []
    used_s = 0.0
    while time.monotonic() < deadline:
        pids, cpu_s = session_pids(session), session_cpu(session).clock_s
        if pids == before and cpu_s - used_s < SETTLED_SHARE * SETTLE_LOOK_S:
            return
        before, used_s = pids, cpu_s
        time.sleep(SETTLE_LOOK_S)


def session_memory(session: int) -> Memory:
    """Resident memory of a session's processes, from smaps_rollup."""
    rss = pss = anon = 0
    for pid in session_pids(session):
        try:
            text = (PROC / str(pid) / "smaps_rollup").read_text()
        except OSError:
            continue  # has ended, or is a zombie: no memory
        for line in text.splitlines():
            if line.startswith("Rss:"):
                rss += int(line.split()[1])
            elif line.startswith("Pss:"):
                pss += int(line.split()[1])
            elif line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                anon += int(line.split()[1])
    return Memory(rss, pss, anon)


def listens(session: int, port: int) -> bool:
    """Whether a process of the session holds the socket that listens on a local port."""
    inodes = set()
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTEN and int(fields[1].split(":")[1], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for pid in session_pids(session):
        with suppress(OSError):
            for descriptor in (PROC / str(pid) / "fd").iterdir():
                with suppress(OSError):
                    if str(descriptor.readlink()) in inodes:
                        return True
    return False


def busy_s(cpu: int) -> float:
    """Seconds for which one processor has not been idle since boot, whoever used it."""
    for line in (PROC / "stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            ticks = list(map(int, line.split()[1:9]))
            return (sum(ticks) - ticks[3] - ticks[4]) / TICKS_PER_S  # less idle and iowait
    raise ValueError(f"no processor {cpu} in /proc/stat")


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Run the body on one processor. Processes started in it inherit that, with no taskset to start first."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
