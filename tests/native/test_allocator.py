"""The allocator's setting: a server's process keeps what it frees, unless the user has configured malloc."""

import os
import subprocess
import sys

import pytest

# Take and free 64 KiB at the end of the heap over and over; print whether it was set, and the page faults it cost.
CHURN = """
import resource
from halfsync.native.allocator import keep_freed_memory
print(keep_freed_memory())
def churn():
    for _ in range(500):
        held = [bytes(65536) for _ in range(4)]
        del held
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(environment: dict[str, str]) -> tuple[str, int]:
    """Run the churn in a process of its own; return what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", CHURN],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said, faults = done.stdout.split()
    return said, int(faults)


@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer has an allocator of its own"
)
def test_freed_memory_is_used_again_without_page_faults() -> None:
    said, faults = run({})
    assert said == "True"
    assert faults < 500


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_users_own_values_are_not_changed(name: str) -> None:
    value = "glibc.malloc.arena_max=4" if name == "GLIBC_TUNABLES" else "131072"
    said, _ = run({name: value})
    assert said == "False"
