NO_ROOM: int

def write_lines(fd: int, data: bytes, seconds: float) -> tuple[int, int]:
    """Write, and wait for room at most so many seconds: how many bytes were taken, and an error number or 0."""

def has_room(fd: int, seconds: float) -> bool:
    """Tell whether something can be written, or is refused at once, within so many seconds."""
