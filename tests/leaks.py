"""What a process holds that a server could leak: native objects, descriptors, threads, children."""

import gc
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from halfsync.native import checks

RETURN_TIMEOUT_S = 10.0  # a server's last threads and sockets end a moment after its exit
POLL_S = 0.01

Held = Counter[str]


def held() -> Held:
    """Count what this process holds now, by name. Native objects are counted in a checks build only."""
    names: Held = Counter()
    for kind, number in checks.counts().items():
        names[f"native {kind}"] = number
    for entry in Path("/proc/self/fd").iterdir():
        # The descriptor that lists the folder is gone when it is read, and so counts for nothing.
        with suppress(OSError):
            names[f"descriptor {str(entry.readlink()).split('[')[0]}"] += 1
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            names[f"thread {(task / 'comm').read_text().strip()}"] += 1
            names["child process"] += len((task / "children").read_text().split())
    return names


def leaked(before: Held, timeout_s: float = RETURN_TIMEOUT_S) -> Held:
    """Return what is held more than before once time was given for it to go, or nothing."""
    deadline = time.monotonic() + timeout_s
    while more := held() - before:
        if time.monotonic() > deadline:
            return more
        gc.collect()
        time.sleep(POLL_S)
    return Counter()
