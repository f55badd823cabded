"""A climb of the load from half the capacity to three times it, a fall, and the figures of each. Pure.

Each level follows the one before without a pause, so that the queue that one leaves behind is there in the next. The
beginning of a level does not count. Arrivals are those of a Poisson process that has the right number of them: as
many as the rate says in the part that counts, at independent random times. So are the places of the long requests of
a mix. The seed is fixed: the first with which a perfect server would be busy at 1 x, so that what is missing there is
the server's doing, and not chance's. Each server gets the same requests at the same times.

Answers in time are counted by the work of the application, in units of the mean: of a mix a server can answer more
requests by refusing the long ones, but not do more work. Of a request that was under way when a level began or ended,
a part counts. So a server that is always busy with what will be in time has a goodput of its capacity.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice
from random import Random
from statistics import median

from bench.openloop import Attempt, Outcome, percentile
from bench.workloads import Demand

THREADS = 4
PATIENCE_S = 1.0
"""For how long a client waits for its answer."""
NORMAL_LOAD = 0.5
"""The load that the others are compared with, before the climb and after the fall."""
RECOVERED = 2.0
"""Recovered is a server whose median answer takes less than this many times the normal one."""
WINDOW_S = 0.5
"""The length of time whose median that is; and how far apart such windows begin."""
WINDOW_STEP_S = 0.05
FULL = 0.99
"""The share of the capacity that a perfect server must reach at 1 x with a schedule."""
SEEDS = 200
"""How many are tried for that; about one in two or three is good."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A time of one load, in seconds from the start: from when its requests count, and until when."""

    load: float
    begins_s: float
    counts_s: float
    ends_s: float


# The load, and how long it lasts, in lengths of a measured load; a third of that does not count. And the fall.
CLIMB = ((NORMAL_LOAD, 0.5), (0.9, 1.0), (1.0, 1.0), (1.5, 1.0), (2.0, 1.0), (3.0, 1.0))
FALL = 2 / 3
LOADS = tuple(load for load, _ in CLIMB)


@dataclass(frozen=True, slots=True)
class Level:
    """What became of the requests of one load.

    `in_time` are the answers per second that came while it counted. The other figures are about the requests that were
    due in that time. The shares are of `sent`, which has the retries of clients in it. Accepted is what was not
    refused: if its client gave up, it took as long as clients wait.
    """

    load: float
    sent: int
    in_time: float
    refused: float
    late: float
    failed: int
    accepted_p99_ms: float | None
    all_p99_ms: float


@dataclass(frozen=True, slots=True)
class Goodput:
    """The curve of one server. `recovery_s` is None if it had not recovered by the end."""

    capacity: float
    levels: tuple[Level, ...]
    recovery_s: float | None
    watched_s: float
    """For how long after the fall recovery was looked for."""
    generator_late_ms: float

    def at(self, load: float) -> Level:
        """The figures of one load."""
        return next(level for level in self.levels if level.load == load)


def lasts_s(seconds: float) -> float:
    """How long a climb and its fall take, if a measured load takes so many seconds."""
    return stages(seconds)[-1].ends_s


def stages(seconds: float) -> tuple[Stage, ...]:
    """The levels of the climb, and the fall as the last."""
    found: list[Stage] = []
    now = 0.0
    for load, length in CLIMB:
        whole = length * seconds
        found.append(Stage(load, now, now + whole / 3, now + whole))
        now += whole
    return (*found, Stage(NORMAL_LOAD, now, now, now + FALL * seconds))


def capacity(demand: Demand, measured: float | None) -> float:
    """Requests per second that the threads can answer. ValueError if that must be measured, and was not."""
    if not demand.measured:
        return THREADS / demand.mean_turn_s
    if measured is None:
        raise ValueError("the capacity of the processor is not known: halfsync did not run")
    return measured


Schedule = tuple[tuple[float, int], ...]
"""When each request is due, in order, and which route it takes."""


def schedule(demand: Demand, per_s: float, times: Sequence[Stage], number: int) -> Schedule:
    """The requests of one round, if the capacity is so many per second. ValueError if no seed is good."""
    one = next(stage for stage in times if stage.load == 1)
    for seed in islice(count(number * SEEDS), SEEDS):
        due = random_schedule(demand, per_s, times, seed)
        if perfect(demand, per_s, due, one) >= FULL:
            return due
    raise ValueError(f"no schedule in {SEEDS} makes a perfect server busy at {per_s:g} requests per second")


def perfect(demand: Demand, per_s: float, due: Schedule, stage: Stage) -> float:
    """The share of its capacity that a server does in time that serves the oldest first and costs nothing."""
    servers = 1 if demand.measured else THREADS
    free = [0.0] * servers
    answers = []
    for at, route in due:
        turn_s = demand.routes[route].turn_s / demand.mean_turn_s * servers / per_s
        begins = max(at, free[0])
        heapq.heapreplace(free, begins + turn_s)
        if begins + turn_s - at <= PATIENCE_S:
            answers.append(_overlap_s(stage, begins, begins + turn_s))
    return sum(answers) / servers / (stage.ends_s - stage.counts_s)


def _overlap_s(stage: Stage, begins_s: float, ends_s: float) -> float:
    return max(0.0, min(ends_s, stage.ends_s) - max(begins_s, stage.counts_s))


def random_schedule(demand: Demand, per_s: float, times: Sequence[Stage], seed: int) -> Schedule:
    """The requests of one seed."""
    random = Random(seed)
    due: list[tuple[float, int]] = []
    for stage in times:
        for begins, ends in ((stage.begins_s, stage.counts_s), (stage.counts_s, stage.ends_s)):
            routes = _routes(demand, per_s * stage.load * (ends - begins))
            random.shuffle(routes)
            due += zip(sorted(random.uniform(begins, ends) for _ in routes), routes, strict=True)
    return tuple(due)


def _routes(demand: Demand, number: float) -> list[int]:
    """The work of so many requests: each route has its share, and the first makes up for what rounding leaves."""
    first, *more = demand.routes
    others = [at for at, route in enumerate(more, 1) for _ in range(round(number * route.share))]
    left_s = number * demand.mean_turn_s - sum(demand.routes[at].turn_s for at in others)
    return [0] * round(left_s / first.turn_s) + others


def curve(
    demand: Demand, per_s: float, times: Sequence[Stage], attempts: Sequence[Attempt], late_s: float
) -> Goodput:
    """The figures of one climb."""
    *climb, fall = times
    levels = tuple(_level(demand, stage, attempts) for stage in climb)
    normal = [
        attempt.took_s for attempt in _due(attempts, climb[0].counts_s, climb[0].ends_s) if _in_time(attempt)
    ]
    return Goodput(
        per_s,
        levels,
        _recovery_s(attempts, fall, median(normal)) if normal else None,
        fall.ends_s - fall.begins_s - WINDOW_S,
        late_s * 1000,
    )


def _level(demand: Demand, stage: Stage, attempts: Sequence[Attempt]) -> Level:
    due = _due(attempts, stage.counts_s, stage.ends_s)
    answered = ((a.at_s + a.took_s, demand.routes[a.path].turn_s) for a in attempts if _in_time(a))
    work_s = sum(_overlap_s(stage, at_s - turn_s, at_s) for at_s, turn_s in answered)
    accepted = [attempt.took_s for attempt in due if attempt.outcome in (Outcome.IN_TIME, Outcome.LATE)]
    return Level(
        stage.load,
        len(due),
        work_s / demand.mean_turn_s / (stage.ends_s - stage.counts_s),
        _share(due, Outcome.REFUSED),
        _share(due, Outcome.LATE),
        sum(attempt.outcome is Outcome.FAILED for attempt in due),
        percentile(accepted, 0.99) * 1000 if accepted else None,
        percentile([attempt.took_s for attempt in due], 0.99) * 1000,
    )


def _due(attempts: Sequence[Attempt], begins_s: float, ends_s: float) -> list[Attempt]:
    return [attempt for attempt in attempts if begins_s <= attempt.at_s < ends_s]


def _in_time(attempt: Attempt) -> bool:
    return attempt.outcome is Outcome.IN_TIME


def _share(attempts: Sequence[Attempt], outcome: Outcome) -> float:
    return sum(attempt.outcome is outcome for attempt in attempts) / len(attempts)


def _recovery_s(attempts: Sequence[Attempt], fall: Stage, normal_s: float) -> float | None:
    """From the fall to the first window whose median answer is fast again; a request without one takes for ever."""
    steps = math.floor((fall.ends_s - fall.begins_s - WINDOW_S) / WINDOW_STEP_S)
    for step in range(steps + 1):
        begins = fall.begins_s + step * WINDOW_STEP_S
        window = _due(attempts, begins, begins + WINDOW_S)
        if window and median(a.took_s if _in_time(a) else math.inf for a in window) < RECOVERED * normal_s:
            return step * WINDOW_STEP_S
    return None
