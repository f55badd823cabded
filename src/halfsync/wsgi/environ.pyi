from halfsync.http.trust import TrustedPeers
from halfsync.listening.endpoints import Endpoints
from halfsync.wsgi.body import Input

class EnvironFactory:
    def __init__(
        self,
        servers: list[tuple[str, str]] | list[tuple[str, str, str]],
        constants: dict[str, object],
        no_body: Input,
        trusted: TrustedPeers,
        root: str = "",
        endpoints: Endpoints | None = None,
        id_field: str | None = None,
    ) -> None: ...
