from collections.abc import Callable
from typing import Any, final

@final
class Response:
    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]: ...
    def write(self, data: bytes) -> None: ...
    def __call__(self) -> bool: ...
