"""When a serving process must be recycled: its requests, its age, its memory, its stuck threads."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from halfsync.runtime.originals import os

if TYPE_CHECKING:
    from collections.abc import Iterable

    from halfsync.settings import Settings
    from halfsync.shared.scoreboard import Slot

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def is_limited(plans: Iterable[Settings]) -> bool:
    """Return whether any of these settings may require a process to be recycled."""
    return any(one.max_requests or one.max_lifetime or one.max_rss or one.request_timeout for one in plans)


def draw_requests(settings: Settings, chance: random.Random) -> int:
    """Return after how many requests a new process must be replaced; 0: never."""
    if not settings.max_requests:
        return 0
    return settings.max_requests + chance.randint(0, settings.max_requests_jitter)


def recycle_reason(
    settings: Settings, slot: Slot, pid: int, *, age: float, most_requests: int
) -> tuple[str, str] | None:
    """Return why a process must be replaced: the end of a sentence, and the setting; None: it need not.

    age: seconds.
    """
    requests = slot.requests
    if most_requests and requests >= most_requests:
        return f"has served {requests} requests (max_requests)", "max_requests"
    if settings.max_lifetime and age >= settings.max_lifetime:
        return f"is {age:.0f} s old (max_lifetime)", "max_lifetime"
    if settings.max_rss and requests and (size := resident_bytes(pid)) > settings.max_rss:
        return f"has {size >> 20} MiB resident (max_rss)", "max_rss"
    if slot.stuck > settings.max_stuck:
        return f"has {slot.stuck} stuck threads (max_stuck)", "max_stuck"
    return None


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, in bytes; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123 - without pathlib
            return int(file.read().split()[1]) * PAGE_BYTES
    except OSError:
        return 0
