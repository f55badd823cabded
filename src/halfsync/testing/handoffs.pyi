MOST: int

def send(
    queue: int,
    fd: int,
    *,
    endpoint: bytes = ...,
    awaits_proxy: bool = False,
    requests: int = 0,
    address: bytes = b"",
    data: bytes = b"",
) -> str:
    """Return "sent", "later", "too long" or "deserted"."""

def take(queue: int) -> tuple[int, bytes, bool, int, bytes, bytes] | str:
    """Return (fd, endpoint, awaits_proxy, requests, address, data), or "none", "short", "refused" or "over"."""
