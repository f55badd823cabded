"""How many processes and threads a machine has room for: the meaning of `auto`.

A container sees every processor of its host; its control groups say what it may use. The lowest of all limits between
this process's group and the root counts, as it does for the kernel (cgroups(7), the kernel's
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/). Missing or unreadable files set no limit.

The rule: usable processors are those of the affinity mask, or the quota of processor time, rounded up, if that is less.
With the GIL, one process keeps one processor busy, so there is one worker for each, as far as memory suffices at
PROCESS_BYTES each. Without the GIL, one process uses all processors, and shares what it has loaded. Threads use the
time in which requests wait: there are THREADS_PER_CPU for each processor that the process can use.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from halfsync.amounts import digits
from halfsync.settings.kinds import AUTO

# The memory of a process with a medium-sized Django or Flask application that has served for a while. The limit applies
# to the sum: if there are more processes than fit, they are killed one after the other.
PROCESS_BYTES = 128 * 1024 * 1024
# A request that waits for a database for seven eighths of its time leaves the processor to seven others.
THREADS_PER_CPU = 8
WORKERS_MOST = THREADS_MOST = 1024  # the limits of the settings
_UNLIMITED = 2**62  # v1 writes the largest number of whole pages for "no limit"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use: processors, processor time in processors, bytes of memory (None: unlimited)."""

    affinity: int
    quota: float | None
    memory: int | None
    gil: bool

    @property
    def cpus(self) -> int:
        """How many processors the process can keep busy, at least one."""
        quota = self.affinity if self.quota is None else math.ceil(self.quota)
        return max(1, min(self.affinity, quota))

    def __str__(self) -> str:
        said = [f"affinity {self.affinity} CPU{'s' if self.affinity != 1 else ''}"]
        if self.quota is not None:
            said.append(f"cgroup quota {self.quota:.1f} CPUs")
        if self.memory is not None:
            said.append(f"memory {self.memory // _MIB} MiB")
        said.append("GIL" if self.gil else "no GIL")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Sizing:
    """The number of workers (None: one process without a supervisor), and threads in each. `str()` gives one line."""

    workers: int | None
    threads: int
    reason: str

    def __str__(self) -> str:
        workers = f"{self.workers} worker{'s' if self.workers != 1 else ''} x " if self.workers else ""
        return f"auto: {workers}{self.threads} thread{'s' if self.threads != 1 else ''} ({self.reason})"


def choose(machine: Machine, *, workers: int | None, threads: int) -> Sizing:
    """Return a sizing in which what is AUTO is chosen, and the rest unchanged. workers: None: no supervisor."""
    reason = str(machine)
    if workers == AUTO:
        fit = max(1, machine.memory // PROCESS_BYTES) if machine.memory is not None else WORKERS_MOST
        wanted = machine.cpus if machine.gil else 1
        workers = min(wanted, fit, WORKERS_MOST)
        if fit < wanted:
            reason += f", room for {fit} at {PROCESS_BYTES // _MIB} MiB each"
    if threads == AUTO:
        cpus = 1 if machine.gil else math.ceil(machine.cpus / (workers or 1))
        threads = min(THREADS_PER_CPU * cpus, THREADS_MOST)
    return Sizing(workers, threads, reason)


def read_machine(root: str = "/") -> Machine:
    """Return what this process may use. root: the directory of `proc` and `sys`."""
    groups = _read_groups(root)
    return Machine(
        affinity=len(os.sched_getaffinity(0)),
        quota=min(_quotas(root, groups), default=None),
        memory=min([*_memory_limits(root, groups), *_memory_of_machine(root)], default=None),
        gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
    )


def _read_groups(root: str) -> dict[str, list[str]]:
    """Return the folders of this process's group, and of all groups above it, for each hierarchy.

    The keys are the controllers of v1, and "" for the one hierarchy of v2. By convention a hierarchy is mounted below
    its controllers' names. The mount itself always counts: a container may see its own group there, under a path that
    means nothing inside.
    """
    groups: dict[str, list[str]] = {}
    for line in _read(root, "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon or not path.startswith("/") or (not controllers and number != "0"):
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for controller in controllers.split(","):
            mounts = {controllers, controller} if controllers else {"", "unified"}
            groups[controller] = [
                "/".join(("sys/fs/cgroup", *filter(None, [mount]), *parts[:depth]))
                for mount in sorted(mounts)
                for depth in range(len(parts), -1, -1)
            ]
    return groups


def _quotas(root: str, groups: dict[str, list[str]]) -> Iterator[float]:
    """Yield each limit of processor time, in processors."""
    for folder in groups.get("", ()):
        limit, _, period = _read(root, f"{folder}/cpu.max").partition(" ")
        yield from _ratio(limit, period or "100000")
    for folder in groups.get("cpu", ()):
        yield from _ratio(
            _read(root, f"{folder}/cpu.cfs_quota_us"), _read(root, f"{folder}/cpu.cfs_period_us")
        )


def _ratio(quota: str, period: str) -> Iterator[float]:
    time, length = _number(quota), _number(period)
    if time and length:
        yield time / length


def _memory_limits(root: str, groups: dict[str, list[str]]) -> Iterator[int]:
    names = [f"{folder}/memory.max" for folder in groups.get("", ())]
    names += [f"{folder}/memory.limit_in_bytes" for folder in groups.get("memory", ())]
    for name in names:
        limit = _number(_read(root, name))
        if limit and limit < _UNLIMITED:
            yield limit


def _memory_of_machine(root: str) -> Iterator[int]:
    for line in _read(root, "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        size = _number(rest.strip().removesuffix(" kB"))
        if name == "MemTotal" and size:
            yield size * 1024


def _number(text: str) -> int | None:
    """Return a whole number; None: it is `max`, -1 or something else."""
    return digits(text.strip())


def _read(root: str, name: str) -> str:
    """Return a file's text; "": it cannot be read."""
    try:
        with open(f"{root.rstrip('/')}/{name}", "rb") as file:  # noqa: PTH123 - pathlib is not needed for a string
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
