from collections.abc import Callable, Iterable

from halfsync.exchange.bridging import Bridge
from halfsync.settings import Settings
from halfsync.wsgi.environ import EnvironFactory

class WsgiBridge(Bridge):
    def __init__(
        self,
        application: Callable[..., Iterable[bytes]],
        environs: EnvironFactory,
        settings: Settings,
    ) -> None: ...
