from typing import Any

from halfsync.lab.load import Load

FAILURE_NAMES: dict[int, str]

class Generator:
    def __init__(self, load: Load, texts: list[bytes], room: int = ...) -> None: ...
    def end(self) -> None: ...
    def play(self) -> dict[str, Any]: ...
