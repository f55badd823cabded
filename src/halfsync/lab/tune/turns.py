"""What a request takes of a process: the processor, the GIL, and time in which it waits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LIMITED = 0.8
"""Threads that are busy for less than this share of the time, with as many clients, are not what limits a process."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one process with so many threads answers per second, and how many processors it uses to do so."""

    threads: int
    rate: float
    processors: float

    @property
    def cpu_s(self) -> float:
        """CPU seconds of a request."""
        return self.processors / self.rate


@dataclass(frozen=True, slots=True)
class Turn:
    """What a request takes on average, in seconds, while nothing else disturbs it.

    `wall_s`: the turn of the application, from its begin to its end. `cpu_s`: the processor, the server's own work
    included. `gil_s`: what only one thread of a process can do at one time: hold the GIL, or another lock. If no number
    of threads was too many, it is only known that it is no more than that: then it is not `is_measured`.
    """

    wall_s: float
    cpu_s: float
    gil_s: float
    is_measured: bool = True

    @property
    def blocking_s(self) -> float:
        """The time in which a turn uses no processor: it waits for something."""
        return max(0.0, self.wall_s - self.cpu_s)

    @property
    def is_locked(self) -> bool:
        """Whether turns exclude each other for longer than they compute: by a lock, or by the GIL held in a wait."""
        return self.gil_s > 1.5 * self.cpu_s


def split(wall_s: float, cpu_s: float, curve: Sequence[Throughput]) -> Turn:
    """Return what a request takes. wall_s, cpu_s: of one that is alone; curve: of one process with more threads.

    If the busiest process does not have all its threads in turns, they exclude each other, or the processors are used
    up: what they do one at a time is then the time between two answers. If all its threads are in turns, more of them
    would answer more, and what they do one at a time is less than that time, and than what they compute.
    """
    top = max(curve, key=lambda point: point.rate)
    cpu_s = min(cpu_s, top.cpu_s)
    between_s = 1 / top.rate
    limited = top.rate * wall_s < LIMITED * top.threads
    return Turn(wall_s, cpu_s, between_s if limited else min(cpu_s, between_s), limited)
