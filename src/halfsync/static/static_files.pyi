from collections.abc import Mapping, Sequence

class StaticFiles:
    capsule: object
    def __init__(
        self,
        mounts: Sequence[tuple[bytes, int]],
        types: Mapping[bytes, tuple[bytes, bool]],
        *,
        symlinks: bool = False,
        walks: bool = False,
        server_header: bool = True,
        keep_alive_s: float = 0,
        max_age_s: int = 0,
        server_timing: bool = False,
        id_field: bytes | None = None,
    ) -> None: ...
    def close(self) -> None: ...
