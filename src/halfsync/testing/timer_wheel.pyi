"""A thin Python wrapper of the timer wheel, for its unit tests. Only in checks builds."""

from typing import final

TICK_NS: int
WHEEL_TICKS: int

@final
class PyTimer:
    deadline: int

@final
class PyWheel:
    def __init__(self, now: int) -> None: ...
    def set(self, timer: PyTimer, deadline: int) -> None: ...
    def clear(self, timer: PyTimer) -> None: ...
    def due(self, now: int) -> PyTimer | None: ...
    def next(self, now: int) -> int: ...
