from halfsync.http.trust import TrustedPeers

class RequestIds:
    def __init__(self, name: str, trusted: TrustedPeers | None) -> None: ...
