"""What processes cost, read from the kernel: CPU time and memory of a whole session of processes.

The CPU time is that of the lab (halfsync.lab.kernel says how it is read), with the figure of the kernel's tick counters
beside it as a check. The kernel adds up what it reaps in nanoseconds and only shows it in ticks, so that thousands of
children that each lived for less than a tick are counted to within two ticks.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from halfsync.lab.kernel import PROC, TICKS_PER_S, cpu_of, numbers_in, pids_of

LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""


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


def session_cpu(session: int) -> Cpu:
    """CPU used so far by a session's processes and by the children they have reaped."""
    used = cpu_of(session)
    return Cpu(used.clock_s, used.user_s + used.system_s)


def session_memory(session: int) -> Memory:
    """Resident memory of a session's processes, from smaps_rollup."""
    rss = pss = anon = 0
    for pid in pids_of(session):
        mapped = numbers_in(
            PROC / str(pid) / "smaps_rollup"
        )  # of one that has ended, or is a zombie: nothing
        rss += mapped.get("Rss", 0)
        pss += mapped.get("Pss", 0)
        anon += mapped.get("Pss_Anon", 0) + mapped.get("Pss_Shmem", 0)
    return Memory(rss, pss, anon)


def listens(session: int, port: int) -> bool:
    """Whether a process of the session holds the socket that listens on a local port."""
    inodes = set()
    for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == LISTEN and int(fields[1].split(":")[1], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for pid in pids_of(session):
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
