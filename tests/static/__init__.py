"""Directories of files for the tests of static files, and functions that answer from them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from halfsync.static.mounts import content_types
from halfsync.static.static_files import StaticFiles


@contextmanager
def files(
    directories: dict[str, Path], *, symlinks: bool = False, walks: bool = False, max_age_s: int = 0
) -> Iterator[StaticFiles]:
    """Open directories, by prefix, as a server does. walks: as on a kernel without openat2."""
    mounts = [
        (prefix.encode(), os.open(directory, os.O_PATH | os.O_DIRECTORY))
        for prefix, directory in directories.items()
    ]
    opened = StaticFiles(mounts, content_types(), symlinks=symlinks, walks=walks, max_age_s=max_age_s)
    try:
        yield opened
    finally:
        opened.close()
