"""Disks that are soon full, for servers in this process and in others."""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.sharing import foreign_environment, processes


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Make a folder on a disk of its own with room for so many bytes. Skip the test if none can be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    environ = foreign_environment()
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True, check=False, env=environ).returncode
    ):
        pytest.skip("no disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, env=environ)


@contextmanager
def short_files(size: int, pid: int | None = None) -> Iterator[None]:
    """Allow a process, this one by default, and all that descend from it no file longer than this, wherever it lies.

    Python ignores the signal that would end a process which tries: the write fails.
    """
    before = {one: resource.prlimit(one, resource.RLIMIT_FSIZE) for one in processes(pid)}
    try:
        for one, (_, hard) in before.items():
            resource.prlimit(one, resource.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        for one, limits in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(one, resource.RLIMIT_FSIZE, limits)
