"""The machine and its limits."""

import json
import os
import platform
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from halfsync.lab import machine
from halfsync.version import VERSION

LIMITS = machine.Limits(
    descriptors_soft=1024,
    descriptors_hard=20_000,
    processes=5000,
    pid_max=32_768,
    threads_max=60_000,
    cgroup_pids=None,
    memory_bytes=8 << 30,
    cgroup_memory_bytes=None,
    ports=28_232,
    backlog=4096,
)


def test_this_machine_is_described() -> None:
    found = machine.read()
    assert found.cpus == tuple(sorted(os.sched_getaffinity(0)))
    assert found.processors == len(found.cpus)
    assert found.kernel == platform.release()
    assert platform.python_version() in found.python
    assert found.halfsync == VERSION
    assert found.model
    assert found.memory_bytes > found.limits.memory_bytes > 0
    assert found.limits.descriptors_soft == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert found.limits.ports > 0
    assert json.loads(json.dumps(found.as_json()))["limits"]["ports"] == found.limits.ports


@pytest.mark.parametrize(
    ("cpus", "server", "generator"),
    [((0,), {0}, None), ((0, 1), {0}, 1), ((2, 3, 5, 7), {2, 3, 5}, 7)],
)
def test_of_two_processors_the_generator_gets_one(
    cpus: tuple[int, ...], server: set[int], generator: int | None
) -> None:
    found = replace(machine.read(), cpus=cpus).cpus_for()
    assert (set(found.server), found.generator) == (server, generator)


def test_connections_are_limited_by_descriptors_and_ports() -> None:
    assert LIMITS.connections == 20_000 - machine.SPARE_DESCRIPTORS
    assert replace(LIMITS, descriptors_hard=None).connections == 28_232 - machine.SPARE_PORTS
    assert replace(LIMITS, descriptors_hard=10).connections == 0


def test_processes_are_limited_by_the_narrowest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert LIMITS.pids == 5000
    assert replace(LIMITS, cgroup_pids=100).pids == 100
    assert replace(LIMITS, processes=None, threads_max=None, pid_max=None).pids is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert LIMITS.pids == 32_768


def test_memory_is_limited_by_the_control_group() -> None:
    assert LIMITS.memory == 8 << 30
    assert replace(LIMITS, cgroup_memory_bytes=1 << 30).memory == 1 << 30


@pytest.mark.parametrize(
    ("groups", "files", "pids", "memory"),
    [
        ("0::/\n", {}, None, None),
        (
            "0::/user/shell\n",
            {"user/pids.max": "300\n", "user/shell/pids.max": "max\n", "user/shell/memory.max": "4096\n"},
            300,
            4096,
        ),
        (
            "2:cpu,pids:/box\n1:memory:/box\n0::/\n",
            {
                "pids/box/pids.max": "77\n",
                "memory/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/box/memory.limit_in_bytes": "8192\n",
            },
            77,
            8192,
        ),
    ],
    ids=["none", "version 2", "version 1"],
)
def test_limits_of_control_groups_are_the_narrowest(
    groups: str,
    files: dict[str, str],
    pids: int | None,
    memory: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    for path, text in {
        proc / "self/cgroup": groups,
        proc / "meminfo": "MemTotal: 100 kB\nMemAvailable: 50 kB\n",
        **{root / name: text for name, text in files.items()},
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(machine, "PROC", proc)
    monkeypatch.setattr(machine, "CGROUPS", root)
    found = machine.read_limits()
    assert (found.cgroup_pids, found.cgroup_memory_bytes) == (pids, memory)
    assert (found.memory_bytes, found.pid_max, found.ports) == (50 * 1024, None, 28_232)
