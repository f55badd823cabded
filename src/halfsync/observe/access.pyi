from halfsync.http.trust import TrustedPeers

class AccessLog:
    def __init__(
        self, path: str, json: bool, direct: bool = False, trusted: TrustedPeers | None = None
    ) -> None: ...
    def close(self) -> None: ...
