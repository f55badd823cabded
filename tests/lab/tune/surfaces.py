"""An application of which it is known what any settings are worth, as a bench that measures it with noise."""

from __future__ import annotations

import random

from halfsync.lab.errors import MeasureError
from halfsync.lab.tune.candidates import Candidate
from halfsync.lab.tune.tuning import Score
from halfsync.lab.tune.turns import Throughput

SHARP = 6
"""How sharply one limit takes over from another: a real server is not ideal near both."""
START_S = 0.7


class Surface:
    """Turns of `wall_s`, of which `cpu_s` computes and `gil_s` excludes others of the process, on some processors."""

    def __init__(
        self,
        wall_s: float,
        cpu_s: float,
        gil_s: float,
        processors: int,
        *,
        noise: float = 0.02,
        seed: int = 1,
        pool: float = 0.9,
        memory: int = 1000,
        failing: tuple[str, ...] = (),
    ) -> None:
        self.wall_s, self.cpu_s, self.gil_s, self.processors = wall_s, cpu_s, gil_s, processors
        self._noise, self._random = noise, random.Random(seed)
        self._pool, self._memory, self._failing = pool, memory, failing
        self.now = 0.0
        self.rates: list[float] = []

    def clock(self) -> float:
        return self.now

    def capacity(self, candidate: Candidate) -> float:
        """Return what settings can answer per second."""
        process = _least(candidate.threads / self.wall_s, 1 / self.gil_s)
        worth = self._pool if candidate.model == "pool" else 1.0
        return worth * _least(candidate.workers * process, self.processors / self.cpu_s)

    def alone(self) -> tuple[float, float]:
        self.now += START_S + 0.5
        return self._seen(self.wall_s), self._seen(self.cpu_s)

    def saturated(self, candidate: Candidate, seconds: float, patience_s: float) -> Throughput:
        self.now += START_S + seconds
        if candidate.model in self._failing:
            raise MeasureError("the server did not start")
        rate = self._seen(self.capacity(candidate))
        return Throughput(candidate.threads, rate, rate * self._seen(self.cpu_s))

    def goodput(self, candidate: Candidate, rate: float, seconds: float, patience_s: float) -> Score:
        self.now += START_S + seconds
        self.rates.append(rate)
        if candidate.model in self._failing:
            raise MeasureError("the server did not start")
        capacity = self.capacity(candidate)
        return Score(self._seen(min(rate, capacity)), self.wall_s if rate < capacity else patience_s)

    def most_workers(self) -> int:
        return self._memory

    def _seen(self, value: float) -> float:
        return value * self._random.gauss(1, self._noise)


def _least(one: float, other: float) -> float:
    """Return less than both, and next to the lower of two that differ much."""
    return float((one**-SHARP + other**-SHARP) ** (-1 / SHARP))
