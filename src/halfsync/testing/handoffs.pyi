from halfsync.listening.endpoints import Endpoints

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

def offer(
    queue: int,
    fd: int,
    *,
    endpoint: bytes = ...,
    awaits_proxy: bool = False,
    requests: int = 0,
    address: bytes = b"",
    data: bytes = b"",
    has_state: bool = False,
    may_move: bool = True,
) -> tuple[str, bool]: ...
def adopt(
    queue: int, endpoints: Endpoints, *, reads_proxy: bool
) -> tuple[int, int, bool, int, bytes, bytes] | str: ...
def next_retry(pause_ns: int) -> int: ...
