from collections.abc import Sequence

from halfsync.observe.access import AccessLog
from halfsync.settings import Settings
from halfsync.threadpool import WorkerThreads
from halfsync.wsgi.bridge import Bridge

class RequestWorkers(WorkerThreads):
    @property
    def dropped(self) -> int: ...

class Proactor:
    def __init__(
        self,
        bridge: Bridge,
        listeners: Sequence[int],
        settings: Settings,
        open_max: int,
        access_log: AccessLog | None = None,
    ) -> None: ...
    @property
    def done_fd(self) -> int: ...
    def start(self) -> None: ...
    def drain(self) -> None: ...
    def stop(self) -> None: ...
    def close(self, timeout: float) -> bool: ...
    def statistics(self) -> dict[str, int]: ...
