from halfsync.http.trust import TrustedPeers

WINDOW_NS: int

def proxy_header(data: bytes) -> tuple[int, tuple[str, int] | None]:
    """Return (bytes of the header, 0: more needed, -1: none; (host, port), ("", 0) of a unix socket, or None)."""

def trusts(peers: TrustedPeers, address: bytes) -> bool: ...
def request_age(value: bytes, now: int) -> int | None:
    """Return how long before `now`, in ns since 1970, a request with this X-Request-Start came; None: it is no time."""

class PyProxyClock:
    def note(self, now: int, age: int) -> int: ...
