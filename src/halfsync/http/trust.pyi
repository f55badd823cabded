from collections.abc import Iterable
from typing import final

@final
class TrustedPeers:
    def __init__(self, networks: Iterable[str], hops: int = 0) -> None: ...
