from collections.abc import Callable, Iterable
from typing import Any

from halfsync.exchange.bridging import Bridge
from halfsync.wsgi.environ import EnvironFactory

class ApplicationError(Exception): ...

class WsgiBridge(Bridge):
    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        environs: EnvironFactory,
        server_header: bool,
        keep_alive_s: float,
    ) -> None: ...

class Response:
    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]: ...
    def write(self, data: bytes) -> None: ...
    def __call__(self) -> bool: ...
