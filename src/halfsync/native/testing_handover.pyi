MOST: int

def send(
    queue: int,
    fd: int,
    *,
    listener: int = 0,
    awaits_proxy: bool = False,
    requests: int = 0,
    address: bytes = b"",
    data: bytes = b"",
) -> str:
    """Return "sent", "later", "too long" or "deserted"."""

def take(queue: int) -> tuple[int, int, bool, int, bytes, bytes] | str:
    """Return (fd, listener, awaits_proxy, requests, address, data), or "none", "short", "refused" or "over"."""
