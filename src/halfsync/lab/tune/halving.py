"""Successive halving: measure all for a short time, the better half for longer, until few are left. Pure.

After K. Jamieson and A. Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, 2016: each
round gets the same share of the time. So most of it goes to those among which the choice is hard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Arm = TypeVar("Arm", bound=Hashable)

TIED = 0.05
"""Scores that are less than this share below the best are not told from it."""


@dataclass(frozen=True, slots=True)
class Trial(Generic[Arm]):
    """One measurement: of which arm, in which round, for how long, and its score; None if it failed."""

    arm: Arm
    round: int
    seconds: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Round:
    """Which round it is, from 0, how many arms it measures, and each of them for how many seconds."""

    number: int
    arms: int
    seconds: float


def rounds(arms: int, budget_s: float, overhead_s: float, least_s: float, keep: int = 2) -> tuple[Round, ...]:
    """Return the rounds until no more than `keep` are left.

    overhead_s: what a measurement takes besides; least_s: a shorter one says nothing, so that a small budget is passed.
    """
    sizes = [arms]
    while sizes[-1] > keep:
        sizes.append(max(keep, math.ceil(sizes[-1] / 2)))
    share_s = budget_s / len(sizes)
    return tuple(
        Round(number, size, max(least_s, share_s / size - overhead_s)) for number, size in enumerate(sizes)
    )


def halve(
    arms: Sequence[Arm],
    plan: Sequence[Round],
    measure: Callable[[Arm, Round], float | None],
    preference: Callable[[Arm], Any],
    is_over: Callable[[], bool] = lambda: False,
) -> list[Trial[Arm]]:
    """Carry out the rounds, and return all measurements.

    Of the arms whose scores are tied with the best of their round, those go on first that come first by preference. The
    first round is carried out in any case; the others end once the time is over.
    """
    trials: list[Trial[Arm]] = []
    left = list(arms)
    for one in plan:
        left = left[: one.arms]
        for arm in left:
            if one.number and is_over():
                return trials
            trials.append(Trial(arm, one.number, one.seconds, measure(arm, one)))
        left = ranked([trial for trial in trials if trial.round == one.number], preference)
    return trials


def ranked(trials: Sequence[Trial[Arm]], preference: Callable[[Arm], Any]) -> list[Arm]:
    """Return the arms that have a score: those tied with the best by preference, and then the others by score."""
    scores = {trial.arm: trial.score for trial in trials if trial.score is not None}
    best = max(scores.values(), default=0.0)

    def order(arm: Arm) -> tuple[Any, ...]:
        tied = scores[arm] >= (1 - TIED) * best
        return (0, preference(arm)) if tied else (1, -scores[arm])

    return sorted(scores, key=order)
