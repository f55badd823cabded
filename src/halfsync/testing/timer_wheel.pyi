"""A thin Python face of the timer wheel, for its unit tests. Built with the checks only."""

from typing import final

TICK_NS: int
WHEEL_TICKS: int

@final
class Timer:
    deadline: int

@final
class Wheel:
    def __init__(self, now: int) -> None: ...
    def set(self, timer: Timer, deadline: int) -> None: ...
    def clear(self, timer: Timer) -> None: ...
    def due(self, now: int) -> Timer | None: ...
    def next(self, now: int) -> int: ...
