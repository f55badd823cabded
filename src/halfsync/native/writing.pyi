NO_ROOM: int

def write_lines(fd: int, data: bytes, seconds: float) -> tuple[int, int]:
    """Write, and wait for room at most this many seconds. Returns the bytes taken, and an error number or 0."""

def has_room(fd: int, seconds: float) -> bool:
    """Return whether a write will be taken, or refused at once, within this many seconds."""
