"""What a test and its application share, in whatever process the application runs.

The model `process` forks. What is made of these before the server starts is the same thing in the test and in every
process and thread of the server: it lies in shared memory, or in a file. Ordinary objects are copied by a fork, and no
test sees what an application does with its copy.
"""

import logging
import multiprocessing
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from itertools import count
from mmap import mmap
from pathlib import Path
from typing import Any

FORK = multiprocessing.get_context("fork")  # its events, semaphores, barriers and values are shared
ARENA = FORK.Value("i")  # kept, or the first test with a value would be blamed for the file that it lies in

NOTES_BYTES = 1 << 20  # of memory, which is used only as it is written


def foreign_environment() -> dict[str, str]:
    """Return the environment for a program that is not ours: a sanitizer preloaded for halfsync is not for it."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def own_environment() -> dict[str, str]:
    """Return the environment that a halfsync needs if its parent passes none on: see tools/asan.sh."""
    names = ("PYTHONMALLOC", "LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")
    return {name: os.environ[name] for name in names if name in os.environ}


def is_sanitized() -> bool:
    """Return whether these tests run with the sanitizer build (tools/asan.sh)."""
    return "libasan" in os.environ.get("LD_PRELOAD", "")


def frugal_environment() -> dict[str, str]:
    """Return variables for a halfsync whose memory is measured.

    A sanitizer holds what is freed for a while, and so grows by a quarter of a gigabyte, if it is let.
    """
    options = os.environ.get("ASAN_OPTIONS", "")
    return {"ASAN_OPTIONS": f"{options}:quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}


class Notes:
    """A list to which any process or thread appends, and that the test reads. Holds whatever can be pickled."""

    def __init__(self) -> None:
        self._memory = mmap(-1, NOTES_BYTES)
        self._size = FORK.Value("q")

    def append(self, note: Any) -> None:
        """Add to the end. Raises IndexError when there is no room left."""
        pickled = pickle.dumps(note)
        with self._size:
            size = self._size.value
            self._memory[size : size + len(pickled)] = pickled
            self._size.value = size + len(pickled)

    def extend(self, notes: Iterable[Any]) -> None:
        """Add each to the end."""
        for note in notes:
            self.append(note)

    def read(self) -> list[Any]:
        """Return all notes so far, oldest first."""
        size = self._size.value
        stream, notes = BytesIO(self._memory[:size]), []
        while stream.tell() < size:
            notes.append(pickle.load(stream))
        return notes


class Logged:
    """What the server logs, from every process and with tracebacks, as text. For one test; `close` ends it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handler = logging.FileHandler(path, encoding="utf-8")  # appends, and flushes each record
        self._handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.getLogger("halfsync").addHandler(self._handler)

    @property
    def text(self) -> str:
        """All of it so far."""
        return self._path.read_text("utf-8")

    @property
    def errors(self) -> list[str]:
        """The first lines of the records of errors so far, and of worse."""
        return [line for line in self.text.splitlines() if line.startswith(("ERROR ", "CRITICAL "))]

    def clear(self) -> None:
        """Forget what was logged."""
        os.truncate(self._path, 0)

    def close(self) -> None:
        """Collect no more."""
        logging.getLogger("halfsync").removeHandler(self._handler)
        self._handler.close()


def processes(pid: int | None = None) -> Iterator[int]:
    """Yield the ids of a process, of this one by default, and of all that descend from it."""
    pid = os.getpid() if pid is None else pid
    yield pid
    with suppress(OSError):  # one that has ended is none
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from processes(int(child))


def open_files(folder: Path) -> int:
    """Count the descriptors for files of a folder, with and without a name, that all these processes have open."""
    number = 0
    for pid in processes():
        with suppress(OSError):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    number += entry.readlink().is_relative_to(folder)
    return number


def first_free_descriptor(pid: int) -> int:
    """Return the number that the next descriptor of a process will have."""
    # The one that lists the folder is gone when it is looked at.
    used = {entry.name for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    return next(number for number in count() if str(number) not in used)
