"""What processes cost, read from the kernel, for a whole session of processes: CPU time, switches, memory.

CPU time is that of the CPU clocks of the processes (clock_getcpuclockid(3)): in nanoseconds, and with the threads that
have ended. Children that have ended and were reaped are added from their parents, where the kernel shows them in ticks.
A child that is alive in one reading and reaped in the next moves from its own clock into that figure, so that the
difference is right either way; so does one that waits to be reaped. A child that ends while a reading is made may be
missed: `settle` first. A process that ignores SIGCHLD loses the time of its children.

Switches are counted by the kernel for each thread, and shown while it exists. Those of threads and children that have
ended are in no file: they are only in what the server's parent is told when the server ends (`cost_of_usage`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from resource import struct_rusage

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KIB = 1024
SETTLE_LOOK_S = 0.05
SETTLED_SHARE = 0.1
"""The share of a processor below which a session counts as idle: some servers turn a loop now and then."""
SETTLE_S = 10.0
"""How long a session may take for that. To begin and end a thousand processes takes some seconds."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What processes have used so far: seconds of CPU, and how often they were switched away from.

    `cpu_s` is exact to a microsecond, but for children that were reaped; `user_s` and `system_s` come in ticks, of
    10 ms on most systems. `voluntary` switches are those of a thread that waits, `involuntary` those of one that could
    have gone on.
    """

    cpu_s: float
    user_s: float
    system_s: float
    voluntary: int
    involuntary: int

    def __sub__(self, earlier: Cost) -> Cost:
        return Cost(
            self.cpu_s - earlier.cpu_s,
            self.user_s - earlier.user_s,
            self.system_s - earlier.system_s,
            self.voluntary - earlier.voluntary,
            self.involuntary - earlier.involuntary,
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of processes, in bytes.

    `pss_bytes` counts a page that n processes share as its nth part in each; `private_bytes` are pages that no other
    process maps. `page_table_bytes` are their page tables. `slab_bytes` and `stack_bytes` are the kernel's objects and
    its stacks of threads, of the whole machine: compare two readings.
    """

    pss_bytes: int
    private_bytes: int
    page_table_bytes: int
    slab_bytes: int
    stack_bytes: int = 0

    @property
    def used_bytes(self) -> int:
        """What the processes take, with their page tables."""
        return self.pss_bytes + self.page_table_bytes


def stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on, or None if the process is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    return text[text.rindex(")") + 2 :].split()


def has_ended(pid: int) -> bool:
    """Return whether a process is gone, or waits to be reaped."""
    fields = stat(pid)
    return fields is None or fields[0] == "Z"


def pids_of(session: int) -> list[int]:
    """Return the processes of a session. It holds orphans too, which a walk from parent to child would miss."""
    pids = []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            fields = stat(int(entry.name))
            if fields and int(fields[3]) == session:
                pids.append(int(entry.name))
    return sorted(pids)


def cpu_clock_s(pid: int) -> float:
    """Return the CPU seconds of one process with all its threads, ended ones included. OSError if it is gone."""
    # The encoding of clock_getcpuclockid(3), part of the kernel's ABI: the pid's complement, and 2 for the
    # scheduler's clock.
    return time.clock_gettime((~pid << 3) | 2)


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds used: `clock_s` by the CPU clocks, `user_s` and `system_s` by the kernel's ticks."""

    clock_s: float
    user_s: float
    system_s: float


def cpu_of(session: int) -> Cpu:
    """Return the CPU that a session's processes, and the children that they have reaped, have used so far."""
    clock_s = user_s = system_s = 0.0
    for pid in pids_of(session):
        fields = stat(pid)
        if fields is None:
            continue
        user, system, reaped_user, reaped_system = (int(field) / TICKS_PER_S for field in fields[11:15])
        try:
            clock_s += cpu_clock_s(pid) + reaped_user + reaped_system
        except OSError:
            continue
        user_s += user + reaped_user
        system_s += system + reaped_system
    return Cpu(clock_s, user_s, system_s)


def cost_of(session: int) -> Cost:
    """Return what a session's processes, and the children that they have reaped, have used so far."""
    cpu = cpu_of(session)
    voluntary = involuntary = 0
    for pid in pids_of(session):
        switches = switches_of(pid)
        voluntary += switches[0]
        involuntary += switches[1]
    return Cost(cpu.clock_s, cpu.user_s, cpu.system_s, voluntary, involuntary)


def cost_of_usage(usage: struct_rusage) -> Cost:
    """Return what an ended process and the children that it had reaped have used in their lives."""
    return Cost(
        usage.ru_utime + usage.ru_stime, usage.ru_utime, usage.ru_stime, usage.ru_nvcsw, usage.ru_nivcsw
    )


def switches_of(pid: int) -> tuple[int, int]:
    """Return how often the threads of a process that exist now were switched, of their own accord and not."""
    voluntary = involuntary = 0
    try:
        threads = [entry.name for entry in (PROC / str(pid) / "task").iterdir()]
    except OSError:
        return 0, 0
    for thread in threads:
        fields = numbers_in(PROC / str(pid) / "task" / thread / "status")
        voluntary += fields.get("voluntary_ctxt_switches", 0)
        involuntary += fields.get("nonvoluntary_ctxt_switches", 0)
    return voluntary, involuntary


def memory_of(session: int) -> Memory:
    """Return the memory of a session's processes."""
    pss = private = tables = 0
    for pid in pids_of(session):
        mapped = numbers_in(PROC / str(pid) / "smaps_rollup")  # of a zombie: nothing
        pss += mapped.get("Pss", 0)
        private += mapped.get("Private_Clean", 0) + mapped.get("Private_Dirty", 0)
        tables += numbers_in(PROC / str(pid) / "status").get("VmPTE", 0)
    machine = numbers_in(PROC / "meminfo")
    return Memory(
        pss * KIB,
        private * KIB,
        tables * KIB,
        machine.get("Slab", 0) * KIB,
        machine.get("KernelStack", 0) * KIB,
    )


def numbers_in(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines `Name: number kB`; none if it is gone. Other lines are passed over."""
    try:
        text = path.read_text()
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found


def settle(session: int, within_s: float = SETTLE_S) -> bool:
    """Wait until a session does nothing: two looks see the same processes, and no CPU used. False: it did not in time.

    The end of a load is not that of its server's work: children end and are reaped, and connections are accepted whose
    clients have left.
    """
    deadline = time.monotonic() + within_s
    before: list[int] = []
    used_s = 0.0
    while time.monotonic() < deadline:
        pids, cpu_s = pids_of(session), cpu_of(session).clock_s
        if pids == before and cpu_s - used_s < SETTLED_SHARE * SETTLE_LOOK_S:
            return True
        before, used_s = pids, cpu_s
        time.sleep(SETTLE_LOOK_S)
    return False


@contextmanager
def pinned(cpus: Set[int] | None) -> Iterator[None]:
    """Run the body on some processors. Processes that are started in it inherit that. None: where it runs now."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
