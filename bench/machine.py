"""What the figures were measured on: processor, kernel, memory. No host names, no paths."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def facts() -> dict[str, str]:
    """The machine, as the report prints it."""
    memory_kb = int(_field("/proc/meminfo", "MemTotal").split()[0])
    flags = _field("/proc/cpuinfo", "flags").split()
    return {
        "processor": _field("/proc/cpuinfo", "model name"),
        "processors": f"{os.cpu_count()}, {'sharing cores' if _shared_cores() else 'each a core, it says'}",
        "virtual": "yes" if "hypervisor" in flags else "no",
        "memory": f"{memory_kb / 1024 / 1024:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
    }


def _shared_cores() -> bool:
    """Whether the kernel knows of two processors on one core, so that a load on one slows the other."""
    siblings = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    return siblings.exists() and siblings.read_text().strip() != "0"


def processors() -> tuple[int, int]:
    """The processor for the servers and the one for the load; the same one if there is no second."""
    allowed = sorted(os.sched_getaffinity(0))
    # The first processor takes most interrupts: the load has it, and the servers have the last.
    return allowed[-1], allowed[0]
