"""The climb of the load, and the figures that are made of it."""

import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from bench.apps.app import app
from bench.cells import Cell
from bench.goodput import LOADS, Stage, capacity, curve, lasts_s, perfect, random_schedule, schedule, stages
from bench.measure import Bench
from bench.openloop import Attempt, Outcome
from bench.servers import ARMS, Kit
from bench.workloads import WORKLOADS, Demand, Kind, Route, selected

from bench import cells, machine, openloop

ALIKE = Demand((Route("/a", 1.0, 0.02),))
MIX = Demand((Route("/a", 0.95, 0.02), Route("/b", 0.05, 0.4)))
FAST_S, CLIMB_END_S = 0.021, 16.5


def test_the_load_climbs_without_a_pause_and_falls() -> None:
    times = stages(3)
    assert [stage.load for stage in times] == [0.5, 0.9, 1.0, 1.5, 2.0, 3.0, 0.5]
    assert all(first.ends_s == then.begins_s for first, then in pairwise(times))
    assert all(s.begins_s < s.counts_s < s.ends_s for s in times[:-1])
    assert lasts_s(3) == 18.5


BURN = Demand((Route("/b", 1.0, 0.002),), measured=True)


@pytest.mark.parametrize(("demand", "per_s"), [(ALIKE, 200), (MIX, 102.56), (BURN, 437.3), (BURN, 900)])
@pytest.mark.parametrize("seconds", [0.3, 1, 3])
def test_a_perfect_server_is_busy_at_its_capacity(demand: Demand, per_s: float, seconds: float) -> None:
    times = stages(seconds)
    due = schedule(demand, per_s, times, 0)
    assert perfect(demand, per_s, due, times[2]) >= 0.99
    assert due == schedule(demand, per_s, times, 0)
    assert due != schedule(demand, per_s, times, 1)


def test_a_perfect_server_serves_the_oldest_first_on_four_threads() -> None:
    stage = Stage(1.0, 0.0, 0.0, 0.1)
    five = tuple((0.01, 0) for _ in range(5))
    # Four turns of 20 ms at once and one after them, in 0.1 s of four threads.
    assert perfect(ALIKE, 200, five, stage) == pytest.approx(0.1 / 0.4)
    late = ((0.0, 1),) * 4 + ((-0.7, 0),)  # one has waited for longer than its client when its turn comes
    assert perfect(MIX, 4 / 0.039, late, stage) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no schedule"):
        schedule(ALIKE, 1, stages(3), 0)


@pytest.mark.parametrize("demand", [ALIKE, MIX])
def test_each_part_of_a_level_has_the_work_of_its_load(demand: Demand) -> None:
    times, per_s = stages(3), capacity(demand, None)
    due = schedule(demand, per_s, times, 1)
    assert list(due) == sorted(due)
    for stage in times:
        for begins, ends in ((stage.begins_s, stage.counts_s), (stage.counts_s, stage.ends_s)):
            work_s = sum(demand.routes[at].turn_s for time, at in due if begins <= time < ends)
            assert work_s == pytest.approx(4 * stage.load * (ends - begins), abs=0.011)


def test_the_times_are_as_random_as_those_of_a_poisson_process_and_the_same_for_a_seed() -> None:
    one = (Stage(1.0, 0.0, 50.0, 100.0),)
    due = random_schedule(ALIKE, 200, one, 1)
    assert due == random_schedule(ALIKE, 200, one, 1)
    assert due != random_schedule(ALIKE, 200, one, 2)
    gaps = [then[0] - first[0] for first, then in pairwise(due)]
    # Of such a process 1 - 1/e of the gaps are shorter than the mean, and e^-3 longer than three times it.
    assert sum(gap < 1 / 200 for gap in gaps) / len(gaps) == pytest.approx(0.632, abs=0.02)
    assert sum(gap > 3 / 200 for gap in gaps) / len(gaps) == pytest.approx(0.050, abs=0.01)


def test_a_capacity_is_the_threads_or_was_measured() -> None:
    assert capacity(ALIKE, None) == pytest.approx(200)
    assert capacity(MIX, None) == pytest.approx(102.56, abs=0.01)
    assert capacity(BURN, 480.0) == 480.0
    with pytest.raises(ValueError, match="not known"):
        capacity(BURN, None)


def climbed(fall: list[Attempt]) -> list[Attempt]:
    """Attempts of a climb with levels of 3 s that are all answered fast, and those of the fall."""
    due = schedule(ALIKE, 200, stages(3), 1)
    climb = [
        Attempt(at, path, took_s=FAST_S, outcome=Outcome.IN_TIME) for at, path in due if at < CLIMB_END_S
    ]
    return climb + fall


def falling(until_s: float, outcome: Outcome, took_s: float) -> list[Attempt]:
    """A request each 10 ms after the fall: until some time with one outcome, and then answered fast."""
    times = [at / 100 for at in range(200)]
    return [
        Attempt(CLIMB_END_S + at, 0, took_s=took_s, outcome=outcome)
        if at < until_s
        else Attempt(CLIMB_END_S + at, 0, took_s=FAST_S, outcome=Outcome.IN_TIME)
        for at in times
    ]


def test_a_server_that_answers_all_in_time_has_the_load_as_its_curve() -> None:
    found = curve(ALIKE, 200, stages(3), climbed(falling(0, Outcome.LATE, 1.0)), 0.002)
    assert [level.load for level in found.levels] == list(LOADS)
    assert [level.in_time for level in found.levels] == pytest.approx(
        [load * 200 for load in LOADS], rel=0.03
    )
    assert {(level.refused, level.late, level.failed) for level in found.levels} == {(0, 0, 0)}
    assert found.at(3.0).accepted_p99_ms == found.at(3.0).all_p99_ms == pytest.approx(21)
    assert (found.recovery_s, found.generator_late_ms, found.capacity) == (0, 2, 200)


def test_a_level_counts_what_became_of_its_requests() -> None:
    attempts = climbed(falling(0, Outcome.LATE, 1.0))
    highest = [at for at, attempt in enumerate(attempts) if 14.5 <= attempt.at_s < CLIMB_END_S]
    assert len(highest) == 1200
    before = [at for at, attempt in enumerate(attempts) if 13.5 <= attempt.at_s < 14.5]
    for indexes, outcome, took_s in (
        (highest[:600], Outcome.REFUSED, 0.001),
        (highest[600:720], Outcome.LATE, 1.0),
        (highest[720:723], Outcome.FAILED, 0.5),
        (before, Outcome.REFUSED, 0.001),  # the beginning of a level, which does not count
    ):
        for at in indexes:
            attempts[at].outcome, attempts[at].took_s = outcome, took_s
    level = curve(ALIKE, 200, stages(3), attempts, 0.0).at(3.0)
    assert (level.sent, level.refused, level.late, level.failed) == (1200, 0.5, 0.1, 3)
    # Of some that were due in the last 20 ms only a part counts.
    assert 477 / 2 - 8 < level.in_time < 477 / 2
    assert level.accepted_p99_ms == pytest.approx(1000)  # a fifth of what was accepted was given up
    assert level.all_p99_ms == pytest.approx(1000)


def test_without_an_accepted_request_there_is_no_percentile_of_those() -> None:
    attempts = climbed([])
    for attempt in attempts:
        attempt.outcome = Outcome.REFUSED
    found = curve(ALIKE, 200, stages(3), attempts, 0.0)
    assert found.at(1.0).accepted_p99_ms is None
    assert found.recovery_s is None


def test_the_requests_of_a_mix_count_by_their_work() -> None:
    due = schedule(MIX, capacity(MIX, None), stages(3), 1)
    attempts = [
        Attempt(at, path, took_s=0.02, outcome=(Outcome.IN_TIME, Outcome.REFUSED)[path]) for at, path in due
    ]
    level = curve(MIX, capacity(MIX, None), stages(3), attempts, 0.0).at(1.0)
    # The long requests, one in twenty, are half of the work.
    assert level.in_time / 102.56 == pytest.approx(0.95 * 0.02 / 0.039, abs=0.02)
    assert level.refused == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    ("outcome", "took_s"), [(Outcome.LATE, 1.0), (Outcome.REFUSED, 0.001), (Outcome.IN_TIME, 2 * FAST_S)]
)
@pytest.mark.parametrize(("until_s", "recovery_s"), [(0.2, 0.0), (0.79, 0.55), (1.9, None)])
def test_recovery_is_when_the_median_of_half_a_second_is_fast_again(
    outcome: Outcome, took_s: float, until_s: float, recovery_s: float | None
) -> None:
    found = curve(ALIKE, 200, stages(3), climbed(falling(until_s, outcome, took_s)), 0.0)
    assert found.recovery_s == (None if recovery_s is None else pytest.approx(recovery_s))
    assert found.watched_s == pytest.approx(1.5)


def test_the_figures_of_a_cell() -> None:
    attempts = climbed(falling(1.9, Outcome.LATE, 1.0))
    cell = Cell("halfsync", "goodput-sleep-kept", 0, goodput=curve(ALIKE, 200, stages(3), attempts, 0.0))
    assert cells.capacity(cell) == 200
    assert cells.recovery_s(cell) == float("inf")
    assert cells.at_load(lambda level: level.in_time, 2.0)(cell) == pytest.approx(400, rel=0.03)
    failed = Cell("halfsync", "goodput-sleep-kept", 0, failure="did not start")
    for metric in (cells.capacity, cells.recovery_s, cells.at_load(lambda level: level.in_time, 2.0)):
        assert metric(failed) is None


def test_the_application_takes_as_long_as_the_workloads_say() -> None:
    started: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        started.append(status)

    routes = {route for workload in WORKLOADS if workload.demand for route in workload.demand.routes}
    assert {route.path for route in routes} == {"/wait-20", "/wait-400", "/burn-2"}
    for route in routes:
        clock = time.thread_time if route.path == "/burn-2" else time.monotonic
        began = clock()
        assert app({"PATH_INFO": route.path}, start_response) == [b"Hello, World!"]  # type: ignore[arg-type]
        assert route.turn_s <= clock() - began < route.turn_s + 0.2
    assert set(started) == {"200 OK"}


def test_a_climb_is_measured_on_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openloop, "LATE_S", 30.0)  # the machine of the tests may be busy
    (arm,) = selected(ARMS, "threading-mixin", "name")
    workload = next(workload for workload in WORKLOADS if workload.kind is Kind.GOODPUT)
    server_cpu, load_cpu = machine.processors()
    bench = Bench(Kit(sys.executable, (), tmp_path, tmp_path), server_cpu, load_cpu, 0.3, 1000)
    cell = bench.measure(arm, workload, 0)
    assert cell.failure == ""
    assert cell.goodput is not None
    assert cell.goodput.at(0.9).sent == round(0.2 * 0.9 * 200)
    assert cell.goodput.at(0.5).in_time > 0
