"""How throughput grows with threads: the universal scalability law, fitted, and Little's law. Pure.

The law (N. Gunther, Guerrilla Capacity Planning, 2007): X(n) = x n / (1 + s (n - 1) + k n (n - 1)). x is what one
thread does; s, contention, the share of a request that only one can do at a time; k, coherency, what each costs each
other one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True, slots=True)
class Scalability:
    """A fitted law: requests per second of one thread, contention and coherency."""

    single: float
    contention: float
    coherency: float

    def rate(self, threads: float) -> float:
        """Return requests per second of so many threads."""
        slowed = self.contention * (threads - 1) + self.coherency * threads * (threads - 1)
        return self.single * threads / (1 + slowed)

    @property
    def best_threads(self) -> float:
        """The number of threads with the highest rate; infinite if more always give more."""
        return math.sqrt(max(0.0, 1 - self.contention) / self.coherency) if self.coherency else math.inf


def fit(points: Sequence[tuple[float, float]]) -> Scalability:
    """Return the law that fits points of threads and requests per second. ValueError without a point.

    n / X(n) is linear: a + b (n - 1) + c n (n - 1), with x = 1 / a, s = b / a, k = c / a. So this is a linear least
    squares problem, of relative errors, in which no coefficient may be negative: of the solutions with some of b and c
    left out, the best whose coefficients are all positive is the one.
    """
    if not points:
        raise ValueError("no throughput was measured")
    found: list[tuple[float, list[float]]] = []
    for size in range(min(3, len(points))):
        for others in combinations((1, 2), size):
            solved = _solve(points, (0, *others))
            if solved is not None:
                found.append(solved)
    _, (a, b, c) = min(found)
    return Scalability(1 / a, b / a, c / a)


def _solve(
    points: Sequence[tuple[float, float]], columns: tuple[int, ...]
) -> tuple[float, list[float]] | None:
    """Return the squared error and the coefficients of all columns, or None if one is negative."""
    import numpy as np  # noqa: PLC0415 - only the lab has it

    threads, rates = (np.array(values, dtype=float) for values in zip(*points, strict=True))
    scale = rates / threads
    terms = np.stack([scale, scale * (threads - 1), scale * threads * (threads - 1)], axis=1)
    solution, *_ = np.linalg.lstsq(terms[:, columns], np.ones(len(points)), rcond=None)
    if solution[0] <= 0 or (solution < 0).any():
        return None
    coefficients = [0.0, 0.0, 0.0]
    for column, value in zip(columns, solution, strict=True):
        coefficients[column] = float(value)
    error = float(((terms @ np.array(coefficients) - 1) ** 2).sum())
    return error, coefficients


def in_service(rate: float, seconds: float) -> float:
    """Return how many requests are in service on average, by Little's law: their rate times the time each takes."""
    return rate * seconds
