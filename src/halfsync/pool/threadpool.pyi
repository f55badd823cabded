from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

@dataclass(frozen=True, slots=True)
class ThreadPoolStatistics:
    queued: int
    running: int
    done: int
    refused: int
    failed: int
    waited: float

class WorkerThreads: ...  # for the stubs of native subclasses

class ThreadPool:
    def __init__(self, threads: int, *, queue_size: int = 1024, name: str = "pool") -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def name(self) -> str: ...
    def append(self, job: Callable[[], object]) -> bool: ...
    def close(self, timeout: float | None = None) -> bool: ...
    def statistics(self) -> ThreadPoolStatistics: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
