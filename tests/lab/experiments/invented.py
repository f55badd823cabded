"""Samples that are made up, for judges: each figure is given once, and each round is a little off it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from halfsync.lab.samples import Sample, Samples

ROUNDS = (0.98, 1.0, 1.02)
"""What three rounds find, in units of what is given."""
WIDE = (0.6, 1.0, 1.4)


def samples(
    curves: Mapping[str, Mapping[float, Mapping[str, float]]],
    *,
    rounds: tuple[float, ...] = ROUNDS,
    twin: tuple[str, float, Mapping[str, float]] | None = None,
) -> Samples:
    """Return the samples of each arm at each of its places. twin: the reference's second measurement, of round 0."""
    found: list[Sample] = []
    for number, off in enumerate(rounds):
        for arm, curve in curves.items():
            for place, metrics in curve.items():
                found.append(
                    Sample(arm, place, number, {name: value * off for name, value in metrics.items()})
                )
    if twin is not None:
        arm, place, metrics = twin
        found.append(Sample(arm, place, 0, metrics, twin=True))
    return Samples(tuple(found))


def line(metric: str, values: Mapping[float, float]) -> dict[float, dict[str, float]]:
    """Return a curve of one metric."""
    return {place: {metric: value} for place, value in values.items()}


def without(
    curves: Mapping[str, Mapping[float, Mapping[str, float]]], *arms: str
) -> dict[str, Mapping[float, Mapping[str, float]]]:
    """Return the curves without some arms."""
    return {arm: curve for arm, curve in curves.items() if arm not in arms}


def flat(metric: str, value: float, places: Iterable[float]) -> dict[float, dict[str, float]]:
    """Return a curve that has one value at all places."""
    return line(metric, dict.fromkeys(places, value))
