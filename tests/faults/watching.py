"""What a serving process uses, seen from outside through /proc: memory, processor time, descriptors."""

import os
from contextlib import suppress
from pathlib import Path

from tests.sharing import processes

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KIB = 1 << 10


def memory(pid: int) -> int:
    """Return the bytes of memory of a process and of all that descend from it.

    Of a page that several of them share each counts its part (PSS): a forked child costs what it has written to.
    """
    total = 0
    for one in processes(pid):
        with suppress(OSError):  # one that ends meanwhile has none
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * KIB
    return total


def processor_s(pid: int) -> float:
    """Return the seconds of processor time that a process and all that descend from it have taken so far."""
    ticks = 0
    for one in processes(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(fields[11]) + int(fields[12])  # utime and stime: see proc_pid_stat(5)
    return ticks / TICKS_PER_S


def descriptors(pid: int) -> int:
    """Count the open descriptors of a process and of all that descend from it."""
    number = 0
    for one in processes(pid):
        with suppress(OSError):
            number += len(list(Path(f"/proc/{one}/fd").iterdir()))
    return number


def file_bytes(pid: int, folder: Path) -> int:
    """Return how long the files of a folder are together that these have open, with and without a name.

    One that several of them have open counts as often.
    """
    total = 0
    for one in processes(pid):
        with suppress(OSError):
            for entry in Path(f"/proc/{one}/fd").iterdir():
                with suppress(OSError):  # it is closed meanwhile
                    if entry.readlink().is_relative_to(folder):
                        total += entry.stat().st_size
    return total
