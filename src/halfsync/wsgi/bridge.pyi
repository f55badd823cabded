from collections.abc import Callable, Iterable

from halfsync.exchange.bridging import Bridge
from halfsync.wsgi.environ import EnvironFactory

class WsgiBridge(Bridge):
    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        environs: EnvironFactory,
        server_header: bool,
        keep_alive_s: float,
    ) -> None: ...
