"""When a queue is overloaded, and who is refused then: the rule by itself, and in a simulated server.

The simulation has a clock of its own, so that minutes of load pass in a moment and each run gives the same figures.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from halfsync.testing.overload import INTERVAL_MEANS, WAIT_MEANS, WAIT_SPREADS, PyOverload

MS = 1_000_000  # ns
SECOND = 1000 * MS
INTERVAL, TARGET = 100 * MS, 100 * MS
THREADS = 4
DEADLINE = SECOND  # a client gives up after it
LOOK = 5 * MS

Draw = Callable[[random.Random], int]


@dataclass
class Outcome:
    """What became of the requests of one simulated load: when each arrived, and how long its answer or refusal took."""

    served: list[tuple[int, int]] = field(default_factory=list)
    refused: list[tuple[int, int]] = field(default_factory=list)
    overloads: int = 0

    def between(self, start: int, end: int) -> Outcome:
        return Outcome(
            [pair for pair in self.served if start <= pair[0] < end],
            [pair for pair in self.refused if start <= pair[0] < end],
        )

    def in_time(self) -> int:
        return sum(took <= DEADLINE for _, took in self.served)

    def percentile(self, share: float) -> int:
        return sorted(took for _, took in self.served)[int(len(self.served) * share)]

    @property
    def refused_share(self) -> float:
        return len(self.refused) / (len(self.served) + len(self.refused))


def simulate(
    arrivals: list[int], turn: Draw, *, interval: int = INTERVAL, seed: int = 1, first_only: bool = False
) -> Outcome:
    """Serve requests that arrive at these times (ns, in order) with THREADS threads, as the queue and the engine do.

    first_only: the first is always taken first, and is judged when it is taken, as in the pool.
    """
    rng = random.Random(seed)
    overload = PyOverload(interval, TARGET)
    queue: deque[int] = deque()  # times of arrival
    ends: list[tuple[int, int]] = []  # of running turns: when, and how long each lasts
    outcome = Outcome()
    waiting = deque(arrivals)
    now = 0
    while waiting or queue or ends:
        times = [waiting[0]] if waiting else []
        times += [ends[0][0]] if ends else []
        times += [now + LOOK] if queue else []  # the engine looks this often while something waits
        now = max(now, min(times))
        while waiting and waiting[0] <= now:
            queue.append(waiting.popleft())
        while ends and ends[0][0] <= now:
            overload.note_turn(heapq.heappop(ends)[1])
        while len(ends) < THREADS:
            if not queue:
                overload.note_empty()
                break
            overload.look(now, len(queue), now - queue[0])
            arrived = queue.pop() if overload.overloaded and not first_only else queue.popleft()
            overload.note_wait(now, now - arrived)
            if first_only and overload.overloaded and now - arrived >= overload.limit_of_first(now):
                outcome.refused.append((arrived, now - arrived))
                continue
            took = turn(rng)
            heapq.heappush(ends, (now + took, took))
            outcome.served.append((arrived, now + took - arrived))
        if queue:
            overload.look(now, len(queue), now - queue[0])
        while queue and not first_only and overload.overloaded and now - queue[0] >= overload.limit(now):
            arrived = queue.popleft()
            outcome.refused.append((arrived, now - arrived))
    outcome.overloads = overload.overloads
    return outcome


def constant(rng: random.Random) -> int:
    return 20 * MS


def mixed(rng: random.Random) -> int:
    return 400 * MS if rng.random() < 0.05 else 20 * MS


def exponential(rng: random.Random) -> int:
    return round(rng.expovariate(1 / (20 * MS)))


def poisson(per_s: float, seconds: float, seed: int, start: int = 0) -> list[int]:
    rng = random.Random(seed)
    at, arrivals = float(start), []
    while at < start + seconds * SECOND:
        at += rng.expovariate(per_s / SECOND)
        arrivals.append(round(at))
    return arrivals


CONSTANT_PER_S, MIXED_PER_S, EXPONENTIAL_PER_S = 200.0, 4 / 0.039, 200.0


def load(factor: float, turn: Draw, capacity: float, first_only: bool) -> Outcome:
    """Three runs of 40 s of Poisson arrivals. What arrives in the first and the last two seconds is left out."""
    together = Outcome()
    for seed in (1, 2, 3):
        run = simulate(poisson(capacity * factor, 40, seed), turn, seed=seed, first_only=first_only).between(
            2 * SECOND, 38 * SECOND
        )
        together.served += run.served
        together.refused += run.refused
    return together


@pytest.mark.parametrize("first_only", [False, True], ids=["proactor", "pool"])
@pytest.mark.parametrize("factor", [1, 1.1, 1.5, 2, 3])
@pytest.mark.parametrize(
    ("turn", "capacity"), [(constant, CONSTANT_PER_S), (exponential, EXPONENTIAL_PER_S), (mixed, MIXED_PER_S)]
)
def test_overload_is_a_plateau(turn: Draw, capacity: float, factor: float, first_only: bool) -> None:
    outcome = load(factor, turn, capacity, first_only)
    # At capacity itself, chance leaves threads idle that no rule can use: long turns among short ones most.
    least = 0.94 if turn is mixed and factor == 1 else 0.95
    assert outcome.in_time() / (3 * 36) >= least * capacity
    if turn is constant:
        assert outcome.percentile(0.99) <= 250 * MS


@pytest.mark.parametrize("first_only", [False, True], ids=["proactor", "pool"])
@pytest.mark.parametrize(
    ("turn", "capacity"), [(constant, CONSTANT_PER_S), (exponential, EXPONENTIAL_PER_S), (mixed, MIXED_PER_S)]
)
def test_almost_nothing_is_refused_below_capacity(turn: Draw, capacity: float, first_only: bool) -> None:
    assert load(0.9, turn, capacity, first_only).refused_share <= 0.01
    assert load(0.5, turn, capacity, first_only).refused_share == 0


@pytest.mark.parametrize("how_many", [10, 100, 500])
def test_a_burst_that_the_threads_clear_is_not_refused(how_many: int) -> None:
    alone = simulate([SECOND] * how_many, constant)
    assert not alone.refused
    beside_load = simulate(sorted([*poisson(100, 20, 1), *[5 * SECOND] * (how_many // 5)]), constant)
    assert not beside_load.refused


@pytest.mark.parametrize("turn_ms", [500, 5_000, 60_000])
def test_an_application_that_is_slow_by_nature_is_not_refused(turn_ms: int) -> None:
    per_s = THREADS * 1000 / turn_ms
    seconds = 150 / per_s
    at_first = simulate([SECOND] * 20, lambda rng: turn_ms * MS)
    assert not at_first.refused
    below_capacity = simulate(poisson(per_s * 0.8, seconds, 1), lambda rng: turn_ms * MS)
    assert not below_capacity.refused


def test_hung_turns_are_no_overload() -> None:
    """All threads hang from the start: no limit is known, so nothing is refused for the wait alone."""
    assert not simulate([SECOND + number * 100 * MS for number in range(40)], lambda rng: 30 * SECOND).refused


def test_it_recovers_within_a_second_of_the_load() -> None:
    overload = poisson(600, 10, 1)
    after = poisson(100, 10, 2, start=11 * SECOND)
    outcome = simulate([*overload, *after], constant).between(11 * SECOND, 30 * SECOND)
    assert not outcome.refused
    assert outcome.percentile(0.99) <= 60 * MS


def test_it_can_be_switched_off() -> None:
    outcome = simulate(poisson(400, 10, 1), constant, interval=0)
    assert not outcome.refused
    assert outcome.overloads == 0


def test_without_it_a_queue_collapses() -> None:
    """The measure of the tests above: the same load, first come, first served."""
    without = simulate(poisson(400, 20, 1), constant, interval=0).between(2 * SECOND, 18 * SECOND)
    assert without.in_time() / 16 < 0.2 * CONSTANT_PER_S


def test_the_limit_follows_the_turns() -> None:
    overload = PyOverload(INTERVAL, TARGET)
    overload.note_wait(0, 0)
    assert overload.limit(0) == TARGET
    for _ in range(100):
        overload.note_turn(50 * MS)
    assert overload.limit(0) == pytest.approx((WAIT_MEANS + WAIT_SPREADS) * 50 * MS)
    assert (
        overload.limit(SECOND) >= WAIT_MEANS * SECOND
    )  # nothing was taken for a second: turns last that long


def test_an_interval_lasts_until_turns_can_have_ended() -> None:
    overload = PyOverload(INTERVAL, TARGET)
    for _ in range(100):
        overload.note_turn(SECOND)
    overload.note_wait(100 * SECOND, 90 * SECOND)
    at = 100 * SECOND
    overload.look(at, 10, 90 * SECOND)
    overload.note_wait(at, 90 * SECOND)
    before = overload.overloads
    overload.look(at + INTERVAL_MEANS * SECOND - MS, 10, 90 * SECOND)
    assert overload.overloads == before
