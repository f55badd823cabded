from halfsync.http.trust import TrustedPeers

def proxy_header(data: bytes) -> tuple[int, tuple[str, int] | None]:
    """Return (bytes of the header, 0: more needed, -1: none; (host, port), ("", 0) of a unix socket, or None)."""

def trusts(peers: TrustedPeers, address: bytes) -> bool: ...
