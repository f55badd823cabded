from collections.abc import Mapping

from halfsync.shared.scoreboard import Scoreboard, Slot

TIMES: tuple[int, ...]
SIZES: tuple[int, ...]
METHODS: tuple[str, ...]
STATUSES: tuple[str, ...]
OUTCOMES: tuple[str, ...]
OUTCOMES_ROOM: int
LANES: int
STATES: tuple[str, ...]

def time_bucket(value: int) -> int: ...
def size_bucket(value: int) -> int: ...
def class_of_method(method: bytes) -> str: ...
def add_request(
    slot: Slot,
    method: str,
    status: int,
    outcome: str,
    *,
    queue_wait: int = -1,
    application: int = -1,
    response: int = -1,
    request_bytes: int = -1,
    response_bytes: int = -1,
) -> None: ...
def set_gauges(
    slot: Slot,
    *,
    connections: Mapping[str, int] | None = None,
    queued: int = 0,
    oldest: int = 0,
    busy: int = 0,
    spooled: int = 0,
) -> None: ...
def set_blocking(slot: Slot, *, open: int = 0, running: int = 0, queued: int = 0, idle: int = 0) -> None: ...
def set_lane(slot: Slot, lane: str, *, length: int = 0, oldest: int = 0, busy: int = 0) -> None: ...
def count_lane(slot: Slot, lane: str, *, taken: int = 0, shed: int = 0, expired: int = 0) -> None: ...
def count(slot: Slot, **changes: int) -> None: ...
def fill(slot: Slot) -> None: ...
def metrics_text(scoreboard: Scoreboard, room: int = 255 * 1024) -> str: ...
