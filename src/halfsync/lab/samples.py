"""What was measured, and the statistics of it. Pure.

A measurement is made for an arm at a place: what is compared, and the value of the variable that is swept. It is
repeated in rounds. An arm's figure is the median of its rounds, with the lowest and the highest as its spread. In each
round one arm, the reference, is measured twice at one place: what the two differ by is the noise floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: the metrics of an arm at a place in one round.

    `place` is in the unit of the experiment's variable. `note` says what could not be done, or was done at another
    size, and why; `metrics` then has what was measured all the same, or nothing. `twin`: it is the reference's second
    measurement of the round, which counts for the noise floor only.
    """

    arm: str
    place: float
    round: int
    metrics: Mapping[str, float]
    note: str = ""
    twin: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the sample as JSON has it."""
        return {
            "arm": self.arm,
            "place": self.place,
            "round": self.round,
            "metrics": dict(self.metrics),
            "note": self.note,
            "twin": self.twin,
        }


@dataclass(frozen=True, slots=True)
class Figure:
    """A median with its spread: the lowest and the highest of `count` rounds."""

    mid: float
    low: float
    high: float
    count: int

    @property
    def spread(self) -> float:
        """Half the range, as a share of the median; 0 for a median of 0."""
        return (self.high - self.low) / 2 / abs(self.mid) if self.mid else 0.0

    def over(self, other: Figure) -> Figure:
        """Return this divided by another, with the widest spread that the two allow. ZeroDivisionError if it is 0."""
        count = min(self.count, other.count)
        low = self.low / other.high
        high = self.high / other.low if other.low else float("inf")
        return Figure(self.mid / other.mid, low, high, count)


def figure(values: Iterable[float]) -> Figure | None:
    """Return the median and the spread of some values, or None if there are none."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Figure(median(ordered), ordered[0], ordered[-1], len(ordered))


Pair = tuple[float, Figure, Figure]
"""A place, and what two arms have there."""


@dataclass(frozen=True, slots=True)
class Samples:
    """All samples of one experiment."""

    samples: tuple[Sample, ...] = field(default=())

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def arms(self) -> tuple[str, ...]:
        """Return the arms in the order of their first samples."""
        return tuple(dict.fromkeys(sample.arm for sample in self.samples))

    def places(self, arm: str | None = None) -> tuple[float, ...]:
        """Return the places at which an arm, or any arm, was measured, from the lowest."""
        return tuple(sorted({sample.place for sample in self.samples if arm in (None, sample.arm)}))

    def values(self, arm: str, place: float, metric: str) -> list[float]:
        """Return what each round found, in the order of the rounds."""
        return [
            sample.metrics[metric]
            for sample in self.samples
            if sample.arm == arm and sample.place == place and metric in sample.metrics and not sample.twin
        ]

    def figure(self, arm: str, place: float, metric: str) -> Figure | None:
        """Return an arm's figure at a place, or None if it was not measured there."""
        return figure(self.values(arm, place, metric))

    def curve(self, arm: str, metric: str) -> list[tuple[float, Figure]]:
        """Return an arm's figure at each place at which it has one."""
        found = ((place, self.figure(arm, place, metric)) for place in self.places(arm))
        return [(place, each) for place, each in found if each is not None]

    def pairs(self, one: str, other: str, metric: str) -> list[Pair]:
        """Return the places at which two arms have a figure, with both figures."""
        others = dict(self.curve(other, metric))
        return [(place, each, others[place]) for place, each in self.curve(one, metric) if place in others]

    def notes(self) -> tuple[str, ...]:
        """Return what the samples note, each once."""
        return tuple(dict.fromkeys(sample.note for sample in self.samples if sample.note))

    def noise(self, metric: str) -> float | None:
        """Return the noise floor: the largest share by which the reference and its twin differ in one round.

        None if no round has both.
        """
        shares = []
        for twin in self.samples:
            if not twin.twin or metric not in twin.metrics:
                continue
            first = next(
                (each for each in self.samples if _is_twin_of(twin, each) and metric in each.metrics), None
            )
            if first is not None:
                shares.append(difference(first.metrics[metric], twin.metrics[metric]))
        return max(shares, default=None)


def difference(one: float, other: float) -> float:
    """Return by what share of their mean two values differ."""
    mean = abs(one + other) / 2
    return abs(one - other) / mean if mean else 0.0


def _is_twin_of(twin: Sample, other: Sample) -> bool:
    same = (twin.arm, twin.place, twin.round) == (other.arm, other.place, other.round)
    return same and not other.twin
