"""How many processes and threads a machine has room for: what `auto` stands for.

A container sees every processor of its host; what it may use stands in its control groups. Of all the limits on the way
from this process's group to the root the least counts, as it does for the kernel (cgroups(7), the kernel's
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/). Files that are missing or unreadable set no limit.

The rule. Usable processors are those of the affinity mask, or the quota of processor time, rounded up, where that is
less. With the GIL one process keeps one processor busy: one worker for each, as far as memory reaches at
PROCESS_BYTES each. Without the GIL one process uses them all, and shares what it has loaded. Threads are for the time
in which requests wait: THREADS_PER_CPU for each processor that the process can use.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from halfsync.amounts import digits
from halfsync.settings.kinds import AUTO

# What a process of a middling Django or Flask application takes once it has served for a while. The limit holds for the
# sum: more processes than fit are killed one after the other.
PROCESS_BYTES = 128 * 1024 * 1024
# A request that waits for a database for seven eighths of its time leaves a processor to seven others.
THREADS_PER_CPU = 8
WORKERS_MOST = THREADS_MOST = 1024  # as the settings have it
_UNLIMITED = 2**62  # v1 writes the largest number of whole pages for "no limit"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use: processors, processor time in processors, bytes of memory (None: not limited)."""

    affinity: int
    quota: float | None
    memory: int | None
    gil: bool

    @property
    def cpus(self) -> int:
        """How many processors can be kept busy, at least one."""
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
    """How many workers (None: one process that serves by itself) and threads in each; `str()` gives it on one line."""

    workers: int | None
    threads: int
    reason: str

    def __str__(self) -> str:
        workers = f"{self.workers} worker{'s' if self.workers != 1 else ''} x " if self.workers else ""
        return f"auto: {workers}{self.threads} thread{'s' if self.threads != 1 else ''} ({self.reason})"


def choose(machine: Machine, *, workers: int | None, threads: int) -> Sizing:
    """Size what is AUTO, and leave the rest as it is. workers: None for one process without a supervisor."""
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
    """Read what this process may use; root: where `proc` and `sys` are found."""
    groups = _read_groups(root)
    return Machine(
        affinity=len(os.sched_getaffinity(0)),
        quota=min(_quotas(root, groups), default=None),
        memory=min([*_memory_limits(root, groups), *_memory_of_machine(root)], default=None),
        gil=getattr(sys, "_is_gil_enabled", lambda: True)(),
    )


def _read_groups(root: str) -> dict[str, list[str]]:
    """Return, for each controller of v1 and "" for the one hierarchy of v2, the folders of this process's group and of
    all above it.

    Where a hierarchy is mounted is by convention: below its controllers' names. The mount itself always counts: a
    container may see its own group there, under a path that means nothing inside.
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
    """Read a whole number; None for `max`, for -1 and for whatever is none."""
    return digits(text.strip())


def _read(root: str, name: str) -> str:
    """Return a file's text; "" where it cannot be read."""
    try:
        with open(f"{root.rstrip('/')}/{name}", "rb") as file:  # noqa: PTH123 - pathlib is not needed for a string
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
