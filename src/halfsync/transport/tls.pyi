from collections.abc import Sequence

from halfsync.transport.profiles import Profile

class TlsError(Exception):
    part: str
    position: int
    reason: str

def load_library() -> str: ...
def pass_hours(count: int) -> None: ...

class Tls(Profile):
    def __init__(
        self,
        pairs: Sequence[tuple[bytes, bytes]],
        *,
        password: bytes | None,
        min_version: str,
        ciphers: bytes,
        ciphersuites: bytes | None,
        curves: bytes,
        raw: bool,
        server_header: bool,
    ) -> None: ...
    @property
    def lifetimes(self) -> tuple[tuple[float, float], ...]: ...
