"""The machine that a measurement is made on, and its limits: what is possible there."""

from __future__ import annotations

import os
import platform
import resource
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from halfsync.version import VERSION

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
SPARE_DESCRIPTORS = 64
NO_LIMIT = 1 << 60
"""A control group of version 1 without a limit says a number above this."""
SPARE_PORTS = 1000
"""Local ports that are left to other programs."""


@dataclass(frozen=True, slots=True)
class Cpus:
    """Which processors are whose. `generator` is None if the generator has none of its own."""

    server: frozenset[int]
    generator: int | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What the system allows. None: no limit is set.

    `processes` is the user's limit (RLIMIT_NPROC, which does not hold root back), `pid_max` and `threads_max` are the
    system's, and `cgroup_pids` the narrowest of the control groups that this process is in. `ports` is how many local
    ports there are for connections to one address.
    """

    descriptors_soft: int | None
    descriptors_hard: int | None
    processes: int | None
    pid_max: int | None
    threads_max: int | None
    cgroup_pids: int | None
    memory_bytes: int
    cgroup_memory_bytes: int | None
    ports: int
    backlog: int

    @property
    def connections(self) -> int:
        """Return how many connections the generator, or one process of a server, can have at one time."""
        descriptors = self.ports if self.descriptors_hard is None else self.descriptors_hard
        return max(0, min(descriptors - SPARE_DESCRIPTORS, self.ports - SPARE_PORTS))

    @property
    def pids(self) -> int | None:
        """Return how many processes and threads there can be, or None."""
        of_user = None if os.geteuid() == 0 else self.processes
        return _least(of_user, self.pid_max, self.threads_max, self.cgroup_pids)

    @property
    def memory(self) -> int:
        """Return how much memory may be used, in bytes."""
        return min(self.memory_bytes, self.cgroup_memory_bytes or self.memory_bytes)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as a report names it. `cpus` are those that this process may use."""

    cpus: tuple[int, ...]
    model: str
    memory_bytes: int
    kernel: str
    python: str
    halfsync: str
    limits: Limits

    @property
    def processors(self) -> int:
        """Return how many processors there are for a measurement."""
        return len(self.cpus)

    def cpus_for(self) -> Cpus:
        """Return who gets which processors: of two or more, the generator gets the last for itself."""
        if len(self.cpus) < 2:
            return Cpus(frozenset(self.cpus), None)
        return Cpus(frozenset(self.cpus[:-1]), self.cpus[-1])

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "cpus": list(self.cpus), "processors": self.processors}


def read() -> Machine:
    """Return what this machine is, for this process."""
    return Machine(
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        model=_model(),
        memory_bytes=_memory("MemTotal"),
        kernel=platform.release(),
        python=python_version(),
        halfsync=VERSION,
        limits=read_limits(),
    )


def cpus_for() -> Cpus:
    """Return who gets which processors of those that this process may use."""
    return read().cpus_for()


def python_version() -> str:
    """Return the interpreter's name and version, and whether it runs without the GIL."""
    has_gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return f"{platform.python_implementation()} {platform.python_version()}{'' if has_gil else ', free-threaded'}"


def read_limits() -> Limits:
    """Return what the system allows this process."""
    soft, hard = (_unless_infinite(value) for value in resource.getrlimit(resource.RLIMIT_NOFILE))
    low, high = (_words(PROC / "sys/net/ipv4/ip_local_port_range") or ("32768", "60999"))[:2]
    return Limits(
        descriptors_soft=soft,
        descriptors_hard=hard,
        processes=_unless_infinite(resource.getrlimit(resource.RLIMIT_NPROC)[0]),
        pid_max=_number(PROC / "sys/kernel/pid_max"),
        threads_max=_number(PROC / "sys/kernel/threads-max"),
        cgroup_pids=_narrowest("pids.max", "pids"),
        memory_bytes=_memory("MemAvailable"),
        cgroup_memory_bytes=_least(
            _narrowest("memory.max", ""), _narrowest("memory.limit_in_bytes", "memory")
        ),
        ports=int(high) - int(low) + 1,
        backlog=_number(PROC / "sys/net/core/somaxconn") or 0,
    )


def _model() -> str:
    """Return the processor's name as /proc/cpuinfo has it, or its architecture."""
    try:
        lines = (PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _memory(name: str) -> int:
    for line in (PROC / "meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _unless_infinite(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    """Return the number in a file; None if there is none, as in one that says `max`, or if it means no limit."""
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() and int(words[0]) < NO_LIMIT else None


def _narrowest(name: str, controller: str) -> int | None:
    """Return the least of the values of a control file in this process's control group and in those above it.

    In a hierarchy of version 2 the groups are under /sys/fs/cgroup; in one of version 1 under the controller's name.
    """
    limits = []
    for line in (PROC / "self/cgroup").read_text().splitlines() if (PROC / "self/cgroup").exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controller if controllers else CGROUPS
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(root):
                break
            limits.append(_number(folder / name))
    return _least(*limits)
