"""The search: an application is measured, settings are swept within a time, and one is recommended.

It measures by a `Bench`, so that it can be tried on applications of which the best settings are known.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from halfsync.lab.errors import MeasureError
from halfsync.lab.samples import figure
from halfsync.lab.tune.candidates import DEFAULT, Candidate, Capacity, candidates, queue_for
from halfsync.lab.tune.choosing import Finalist, Recommendation, choose
from halfsync.lab.tune.halving import Round, Trial, halve, ranked, rounds
from halfsync.lab.tune.scalability import fit
from halfsync.lab.tune.turns import Throughput, Turn, split

T = TypeVar("T")

DOUBLINGS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Threads of the one process that is measured first."""
MORE = 1.1
"""More threads go on being tried while they give so many times as much, at least every second time."""
PROBE_S = 0.6
"""How long each of these is measured."""
PROFILE_SHARE = 0.3
SWEEP_SHARE = 0.6
"""Of the time that is left after the profile; the rest is for the last comparison."""
LEAST_S = 0.8
LEAST_TURNS = 2.0
"""No measurement is shorter than so many turns."""
OVER = 1.2
"""The load of the last comparison, in units of what the best settings can answer."""
LATEST_SHARE = 0.3
"""The weight of the latest measurement in the mean of what measurements take besides their time."""
LAST_ROUNDS = 3
LAST_ARMS = 2
"""The best of the sweep that are compared with the default at the end."""
PATIENCE_S = 1.0
PATIENCE_TURNS = 5.0
"""Clients wait for so many turns, if those are long."""


@dataclass(frozen=True, slots=True)
class Score:
    """Answers in time per second, and the 99th percentile of answers."""

    goodput: float
    p99_s: float


class Bench(Protocol):
    """What measures the application."""

    processors: int

    def alone(self) -> tuple[float, float]:
        """Return what a request takes that is alone in a server: the turn, and the processor. Raises MeasureError."""

    def saturated(self, candidate: Candidate, seconds: float, patience_s: float) -> Throughput:
        """Return what settings can do, with more clients than threads. Raises MeasureError."""

    def goodput(self, candidate: Candidate, rate: float, seconds: float, patience_s: float) -> Score:
        """Return what settings are worth under a load that may be too much for them. Raises MeasureError."""

    def most_workers(self) -> int:
        """Return for how many processes there is memory."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found, and what it rests on."""

    recommendation: Recommendation
    curve: tuple[Throughput, ...]
    trials: tuple[Trial[Candidate], ...]


def tune(
    bench: Bench,
    budget_s: float,
    *,
    patience_s: float | None = None,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Tuned:
    """Return the settings to recommend, found in about `budget_s` seconds. Raises MeasureError.

    say: is given a line for each step. What no setting can be measured with, or the default, ends it; other settings
    that fail are left out.
    """
    search = _Search(bench, clock() + budget_s, say, clock)
    turn, curve = search.profile(budget_s * PROFILE_SHARE, patience_s)
    law = fit([(point.threads, point.rate) for point in curve])
    capacity = Capacity(turn, law, bench.processors)
    trials = search.sweep(capacity)
    finalists = search.compare(trials)
    recommendation = choose(finalists, capacity, search.rate, search.patience_s)
    return Tuned(recommendation, tuple(curve), tuple(trials))


class _Search:
    """The steps of one search, within its time."""

    def __init__(
        self, bench: Bench, deadline: float, say: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._bench = bench
        self._deadline = deadline
        self._say = say
        self._clock = clock
        self._overhead_s = 1.0
        self._least_s = LEAST_S
        self.patience_s = PATIENCE_S
        self.rate = 0.0
        """The load of the last comparison, in requests per second."""

    @property
    def _left_s(self) -> float:
        return self._deadline - self._clock()

    def profile(self, share_s: float, patience_s: float | None) -> tuple[Turn, list[Throughput]]:
        """Return what a request takes, and what one process answers with more and more threads."""
        until = self._clock() + share_s
        self._say("one process, with more and more threads")
        wall_s, cpu_s = self._bench.alone()
        self.patience_s = patience_s or max(PATIENCE_S, PATIENCE_TURNS * wall_s)
        self._least_s = max(LEAST_S, LEAST_TURNS * wall_s)
        seconds = max(PROBE_S, LEAST_TURNS * wall_s)
        curve: list[Throughput] = []
        for threads in DOUBLINGS:
            arm = Candidate(threads=threads)
            point = self._point(arm, seconds)
            if point is not None:
                curve.append(point)
                self._say(f"  {arm}: {point.rate:,.0f} per second, {point.processors:.2f} processors")
            if point is None or self._clock() > until or _is_flat(curve):
                break
        if not curve:
            raise MeasureError("nothing was answered under load")
        return split(wall_s, cpu_s, curve), curve

    def sweep(self, capacity: Capacity) -> list[Trial[Candidate]]:
        """Measure what the promising settings can do, the better half for longer each time."""
        arms = candidates(capacity, most_workers=self._bench.most_workers())
        share_s = self._left_s * SWEEP_SHARE
        plan = rounds(len(arms), share_s, self._overhead_s, self._least_s)
        until = self._clock() + share_s
        begun: set[int] = set()

        def measure(arm: Candidate, one: Round) -> float | None:
            if one.number not in begun:
                begun.add(one.number)
                self._say(f"{one.arms} settings, {one.seconds:.1f} s each")
            return self._rate(arm, one.seconds)

        return halve(arms, plan, measure, lambda arm: arm.preference, lambda: self._clock() > until)

    def compare(self, trials: list[Trial[Candidate]]) -> list[Finalist]:
        """Measure the best of the sweep and the default in turns, several times each, under one load."""
        best = _last_ranking(trials)[:LAST_ARMS]
        if not best:
            raise MeasureError("no settings could be measured")
        most = [trial.score for trial in trials if trial.arm == best[0] and trial.score is not None][-1]
        self.rate = OVER * most
        shorter = replace(best[0], queue_size=queue_for(most, best[0].workers, self.patience_s))
        arms = tuple(dict.fromkeys([*best, shorter, DEFAULT]))
        seconds = max(self._least_s, self._left_s / (len(arms) * LAST_ROUNDS) - self._overhead_s)
        self._say(
            f"the best {len(arms) - 1} and the default, {LAST_ROUNDS} times {seconds:.1f} s each, "
            f"{self.rate:,.0f} requests per second"
        )
        scores: dict[Candidate, list[Score]] = {arm: [] for arm in arms}
        for number in range(LAST_ROUNDS):
            if number and self._left_s < len(arms) * seconds:
                break
            for arm in arms if number % 2 else reversed(arms):
                score = self._score(arm, seconds)
                if score is not None:
                    scores[arm].append(score)
        if not scores[DEFAULT]:
            raise MeasureError("the default settings could not be measured")
        return [_finalist(arm, found) for arm, found in scores.items() if found]

    def _rate(self, arm: Candidate, seconds: float) -> float | None:
        point = self._point(arm, seconds)
        if point is None:
            return None
        self._say(f"  {arm}: {point.rate:,.0f} per second")
        return point.rate

    def _point(self, arm: Candidate, seconds: float) -> Throughput | None:
        return self._measured(arm, seconds, lambda: self._bench.saturated(arm, seconds, self.patience_s))

    def _score(self, arm: Candidate, seconds: float) -> Score | None:
        score = self._measured(
            arm, seconds, lambda: self._bench.goodput(arm, self.rate, seconds, self.patience_s)
        )
        if score is not None:
            self._say(f"  {arm}: {score.goodput:,.0f} in time per second")
        return score

    def _measured(self, arm: Candidate, seconds: float, measure: Callable[[], T]) -> T | None:
        """Return what a measurement gives, or None if it fails, and note what it takes besides its time."""
        began = self._clock()
        try:
            found = measure()
        except MeasureError as error:
            self._say(f"  {arm}: left out: {error}")
            return None
        overhead_s = self._clock() - began - seconds
        self._overhead_s += LATEST_SHARE * (overhead_s - self._overhead_s)
        return found


def _is_flat(curve: list[Throughput]) -> bool:
    """Whether the last two steps gave next to nothing."""
    before = max((point.rate for point in curve[:-2]), default=0.0)
    return len(curve) > 2 and max(point.rate for point in curve[-2:]) < MORE * before


def _last_ranking(trials: list[Trial[Candidate]]) -> list[Candidate]:
    """Return the order of the settings after the last round, with those of rounds before behind it."""
    order: list[Candidate] = []
    for number in sorted({trial.round for trial in trials}, reverse=True):
        order += ranked([trial for trial in trials if trial.round == number], lambda arm: arm.preference)
    return list(dict.fromkeys(order))


def _finalist(arm: Candidate, scores: list[Score]) -> Finalist:
    goodput, p99_s = (figure(getattr(score, name) for score in scores) for name in ("goodput", "p99_s"))
    assert goodput is not None
    assert p99_s is not None
    return Finalist(arm, goodput, p99_s)
