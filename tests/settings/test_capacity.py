"""The capacity of a machine, read from the files of many kinds of machines, and the sizes that follow from it."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.settings import capacity
from halfsync.settings.capacity import Machine, choose, read_machine
from halfsync.settings.kinds import AUTO

MIB = 1024 * 1024
Tree = Callable[..., Machine]


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Return a function that makes files under a root of their own, and reads the machine that they describe."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    def make(files: dict[str, str], memory_kib: int | None = None) -> Machine:
        if memory_kib is not None:
            files = files | {"proc/meminfo": f"MemTotal:  {memory_kib} kB\nMemFree: 1 kB\n"}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_machine(str(tmp_path))

    return make


def machine(
    affinity: int = 8, quota: float | None = None, memory: int | None = None, gil: bool = True
) -> Machine:
    return Machine(affinity, quota, memory, gil)


V1_SELF = "5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n"
V2 = {
    "proc/self/cgroup": "0::/a/b\n",
    "sys/fs/cgroup/a/cpu.max": "400000 100000\n",
    "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
    "sys/fs/cgroup/a/memory.max": f"{2048 * MIB}\n",
    "sys/fs/cgroup/a/b/memory.max": f"{512 * MIB}\n",
}
V1 = {
    "proc/self/cgroup": V1_SELF,
    "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu,cpuacct/docker/ab/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": f"{256 * MIB}\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
}


@pytest.mark.parametrize(
    ("files", "quota", "memory"),
    [
        pytest.param({}, None, None, id="nothing-there"),
        pytest.param(V2, 4.0, 512 * MIB, id="v2-nested"),
        pytest.param(
            V2 | {"sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 0.5, 512 * MIB, id="v2-the-least-counts"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/\n",
                "sys/fs/cgroup/cpu.max": "200000 50000\n",
                "sys/fs/cgroup/memory.max": "max\n",
            },
            4.0,
            None,
            id="v2-root-of-a-namespace",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/../../other\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"},
            3.0,
            None,
            id="v2-outside-of-the-namespace",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"},
            None,
            None,
            id="v2-unlimited",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "100000\n"},
            1.0,
            None,
            id="v2-without-a-period",
        ),
        pytest.param(V1, 1.5, 256 * MIB, id="v1"),
        pytest.param(
            {
                "proc/self/cgroup": V1_SELF,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{64 * MIB}\n",
            },
            2.5,
            64 * MIB,
            id="v1-mount-of-a-container",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpuacct,cpu,memory:/x\n",
                "sys/fs/cgroup/cpuacct,cpu,memory/x/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpuacct,cpu,memory/x/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpuacct,cpu,memory/x/memory.limit_in_bytes": f"{64 * MIB}\n",
            },
            2.5,
            64 * MIB,
            id="v1-controllers-together",
        ),
        pytest.param(
            {
                "proc/self/cgroup": V1_SELF,
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854710272\n",
            },
            None,
            None,
            id="v1-unlimited",
        ),
        pytest.param(
            V1
            | {
                "proc/self/cgroup": V1_SELF + "0::/u\n",
                "sys/fs/cgroup/unified/u/cpu.max": "100000 100000\n",
                "sys/fs/cgroup/unified/u/memory.max": f"{512 * MIB}\n",
            },
            1.0,
            256 * MIB,
            id="hybrid",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a\nno colons\n7:cpu\n:::\n\xff\n8:cpu:relative\n",
                "sys/fs/cgroup/a/cpu.max": "many 0\n",
                "sys/fs/cgroup/a/memory.max": "-5\n",
                "sys/fs/cgroup/cpu.max": "100000 0\n",
                "sys/fs/cgroup/memory.max": "0x10\n",
            },
            None,
            None,
            id="malformed",
        ),
        pytest.param(
            {"proc/self/cgroup": "", "sys/fs/cgroup/cpu.max": "100000 100000"}, None, None, id="no-group"
        ),
    ],
)
def test_limits_are_read(read: Tree, files: dict[str, str], quota: float | None, memory: int | None) -> None:
    found = read(files)
    assert (found.affinity, found.quota, found.memory) == (8, quota, memory)


def test_the_memory_of_the_machine_is_a_limit_too(read: Tree) -> None:
    assert read(V2, memory_kib=256 * 1024).memory == 256 * MIB
    assert read(V2, memory_kib=4096 * 1024).memory == 512 * MIB


def test_a_file_that_cannot_be_read_sets_no_limit(read: Tree, tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup/a/cpu.max").mkdir(parents=True)
    assert read({"proc/self/cgroup": "0::/a\n"}).quota is None


@settings(max_examples=50)  # each makes files
@given(
    st.text(alphabet="0123:/,.-cpumemoryax \n\0\x85é", max_size=60),
    st.text(alphabet="0123456789- maxkB:\n\0٣", max_size=30),
)
def test_no_content_of_a_file_is_an_error(groups: str, limit: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for folder in ("proc/self", "sys/fs/cgroup/cpu", "sys/fs/cgroup/memory"):
            (root / folder).mkdir(parents=True)
        (root / "proc/self/cgroup").write_text("0::/\n1:cpu,memory:/\n" + groups)
        (root / "proc/meminfo").write_text("MemTotal:" + limit)
        for file in ("cpu.max", "memory.max", "cpu/cpu.cfs_quota_us", "memory/memory.limit_in_bytes"):
            (root / "sys/fs/cgroup" / file).write_text(limit)
        (root / "sys/fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000")
        found = read_machine(name)
    assert found.quota is None or found.quota > 0
    assert found.memory is None or found.memory > 0
    choice = choose(found, workers=AUTO, threads=AUTO)
    assert choice.workers is not None
    assert 1 <= choice.workers <= 1024
    assert 1 <= choice.threads <= 1024


def test_this_very_machine_can_be_read() -> None:
    found = read_machine()
    assert found.affinity == len(os.sched_getaffinity(0))
    assert found.memory is not None
    assert 1 <= found.cpus <= found.affinity


@pytest.mark.parametrize("enabled", [True, False])
def test_the_gil_is_asked_for(read: Tree, monkeypatch: pytest.MonkeyPatch, enabled: bool) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: enabled, raising=False)
    assert read({}).gil is enabled


@pytest.mark.parametrize(
    ("quota", "cpus"), [(None, 8), (0.1, 1), (1.0, 1), (1.1, 2), (4.0, 4), (7.5, 8), (64.0, 8)]
)
def test_a_quota_is_rounded_up_to_whole_processors(quota: float | None, cpus: int) -> None:
    assert machine(quota=quota).cpus == cpus


@pytest.mark.parametrize(
    ("found", "given", "chosen"),
    [
        # With the GIL: a worker for each processor, as far as memory reaches.
        (machine(), (AUTO, AUTO), (8, 8)),
        (machine(quota=4.0, memory=512 * MIB), (AUTO, AUTO), (4, 8)),
        (machine(memory=300 * MIB), (AUTO, AUTO), (2, 8)),
        (machine(memory=5 * MIB), (AUTO, AUTO), (1, 8)),
        (machine(affinity=5000), (AUTO, AUTO), (1024, 8)),
        # Without: one that has them all, or as many threads as its share asks for.
        (machine(gil=False), (AUTO, AUTO), (1, 64)),
        (machine(gil=False, quota=2.5), (AUTO, AUTO), (1, 24)),
        (machine(gil=False), (3, AUTO), (3, 24)),
        (machine(gil=False), (None, AUTO), (None, 64)),
        (machine(gil=False, affinity=5000), (AUTO, AUTO), (1, 1024)),
        # What was given stays.
        (machine(), (2, AUTO), (2, 8)),
        (machine(), (AUTO, 3), (8, 3)),
        (machine(), (None, AUTO), (None, 8)),
        (machine(memory=MIB), (16, AUTO), (16, 8)),
    ],
)
def test_what_is_chosen(
    found: Machine, given: tuple[int | None, int], chosen: tuple[int | None, int]
) -> None:
    choice = choose(found, workers=given[0], threads=given[1])
    assert (choice.workers, choice.threads) == chosen


@pytest.mark.parametrize(
    ("found", "workers", "line"),
    [
        (
            machine(quota=4.0, memory=512 * MIB),
            AUTO,
            "auto: 4 workers x 8 threads (affinity 8 CPUs, cgroup quota 4.0 CPUs, memory 512 MiB, GIL)",
        ),
        (machine(affinity=1, gil=False), AUTO, "auto: 1 worker x 8 threads (affinity 1 CPU, no GIL)"),
        (machine(), None, "auto: 8 threads (affinity 8 CPUs, GIL)"),
        (
            machine(memory=256 * MIB),
            AUTO,
            "auto: 2 workers x 8 threads (affinity 8 CPUs, memory 256 MiB, GIL, room for 2 at 128 MiB each)",
        ),
    ],
)
def test_a_choice_is_logged_with_its_reasons(found: Machine, workers: int | None, line: str) -> None:
    assert str(choose(found, workers=workers, threads=AUTO)) == line


def test_the_page_of_settings_has_the_same_numbers() -> None:
    from halfsync.settings import BY_NAME

    assert f"at {capacity.PROCESS_BYTES // MIB} MiB each" in BY_NAME["workers"].doc
    assert f"auto: {capacity.THREADS_PER_CPU} for each processor" in BY_NAME["threads"].doc
