"""What a serving process uses, seen from outside through /proc: memory, processor time, descriptors."""

import os
from contextlib import suppress
from pathlib import Path

from tests.sharing import processes

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KIB = 1 << 10


def status(pid: int, name: str) -> int:
    """Return a number of bytes of /proc/PID/status, which gives it in kilobytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * KIB
    raise LookupError(name)


def reset_peak(pid: int) -> dict[int, int]:
    """Forget the highest memory of a process and of all that descend from it so far, and return what each has now."""
    now = {}
    for one in processes(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")  # see proc_pid_clear_refs(5)
        now[one] = status(one, "VmRSS")
    return now


def peak_growth(pid: int, before: dict[int, int]) -> int:
    """Return the bytes by which one of these had grown most, at its highest, since `reset_peak` returned `before`.

    A process that is new is not looked at.
    """
    return max(status(one, "VmHWM") - before[one] for one in processes(pid) if one in before)


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
                with suppress(OSError):  # it has been closed
                    if entry.readlink().is_relative_to(folder):
                        total += entry.stat().st_size
    return total
