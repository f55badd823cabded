from halfsync.http.trust import TrustedPeers

def proxy_header(data: bytes) -> tuple[int, tuple[str, int] | None]:
    """(bytes of the header, 0: more are needed, -1: there is none; (host, port), ("", 0) of a unix socket or None)"""

def trusts(peers: TrustedPeers, address: bytes) -> bool: ...
