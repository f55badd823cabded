"""The search finds settings whose goodput is near the best, for applications of which this is known."""

import itertools

import pytest

from halfsync.lab.errors import MeasureError
from halfsync.lab.tune.candidates import DEFAULT, MODELS, SERIES, Candidate
from halfsync.lab.tune.tuning import Tuned, tune
from halfsync.lab.tune.turns import Throughput
from tests.lab.tune.surfaces import Surface

BAR = 0.9
"""The share of the best goodput that a recommendation must reach."""
BUDGET_S = 120.0
APPLICATIONS = {
    "waits 20 ms": (0.020, 0.00015, 0.00012),
    "computes 2 ms": (0.002, 0.002, 0.002),
    "computes 2 ms without the GIL": (0.002, 0.002, 0.0001),
    "mixed": (0.012, 0.002, 0.0018),
    "a page with a database": (0.004, 0.003, 0.0027),
    "waits for a lock": (0.010, 0.0002, 0.005),
    "waits 2 s": (2.0, 0.0005, 0.0005),
    "hello": (0.00003, 0.00003, 0.00002),
}


def quiet(_line: str) -> None:
    pass


def search(surface: Surface, budget_s: float = BUDGET_S) -> Tuned:
    return tune(surface, budget_s, say=quiet, clock=surface.clock)


def best_of_all(surface: Surface) -> float:
    processors = surface.processors
    workers = {1, 2, max(1, processors // 2), processors, 2 * processors}
    grid = itertools.product(MODELS, workers, SERIES)
    return max(surface.capacity(Candidate(model, number, threads)) for model, number, threads in grid)


@pytest.mark.parametrize("processors", [1, 2, 8, 32])
@pytest.mark.parametrize("application", APPLICATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_recommended_is_near_the_best(application: str, processors: int, seed: int) -> None:
    surface = Surface(*APPLICATIONS[application], processors, noise=0.02, seed=seed)
    found = search(surface).recommendation
    assert surface.capacity(found.best.candidate) >= BAR * best_of_all(surface), found


def test_it_takes_about_the_time_that_it_has() -> None:
    for budget_s in (60.0, 240.0):
        surface = Surface(*APPLICATIONS["mixed"], 2)
        search(surface, budget_s)
        assert 0.6 * budget_s < surface.now < 1.1 * budget_s


def test_a_small_budget_still_gives_a_recommendation() -> None:
    surface = Surface(*APPLICATIONS["mixed"], 2)
    assert search(surface, 1.0).recommendation.default.candidate == DEFAULT


def test_what_cannot_start_is_left_out() -> None:
    surface = Surface(*APPLICATIONS["computes 2 ms"], 2, failing=("pool",))
    found = search(surface)
    assert {trial.arm.model for trial in found.trials if trial.score is None} == {"pool"}
    assert found.recommendation.best.candidate.model == "proactor"


def test_it_fails_if_nothing_can_be_measured() -> None:
    surface = Surface(*APPLICATIONS["computes 2 ms"], 2, failing=MODELS)
    with pytest.raises(MeasureError, match="nothing was answered under load"):
        search(surface)


def test_more_threads_than_can_be_started_end_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = Surface(*APPLICATIONS["waits 20 ms"], 2)
    whole = surface.saturated

    def saturated(candidate: Candidate, seconds: float, patience_s: float) -> Throughput:
        if candidate.threads > 16:
            raise MeasureError("the server did not start")
        return whole(candidate, seconds, patience_s)

    monkeypatch.setattr(surface, "saturated", saturated)
    said: list[str] = []
    found = tune(surface, BUDGET_S, say=said.append, clock=surface.clock)
    assert max(point.threads for point in found.curve) == 16
    assert found.recommendation.best.candidate.threads <= 16
    assert any(line.endswith("left out: the server did not start") for line in said)


def test_no_more_processes_are_tried_than_fit_into_memory() -> None:
    surface = Surface(*APPLICATIONS["computes 2 ms"], 8, memory=2)
    assert {trial.arm.workers for trial in search(surface).trials} == {1}


def test_the_load_of_the_comparison_is_more_than_the_best_can_do() -> None:
    surface = Surface(*APPLICATIONS["mixed"], 2, noise=0.0)
    found = search(surface).recommendation
    assert set(surface.rates) == {found.rate}
    assert found.rate == pytest.approx(1.2 * found.best.goodput.mid, rel=0.05)


def test_clients_wait_for_longer_if_turns_are_long() -> None:
    assert search(Surface(*APPLICATIONS["mixed"], 2)).recommendation.patience_s == 1.0
    assert search(Surface(*APPLICATIONS["waits 2 s"], 2)).recommendation.patience_s == pytest.approx(
        10, rel=0.1
    )
    surface = Surface(*APPLICATIONS["waits 2 s"], 2)
    assert (
        tune(surface, 60.0, patience_s=3.0, say=quiet, clock=surface.clock).recommendation.patience_s == 3.0
    )


def test_another_model_is_taken_only_if_it_is_clearly_better() -> None:
    little = Surface(*APPLICATIONS["mixed"], 2, noise=0.005, pool=1.03)
    much = Surface(*APPLICATIONS["mixed"], 2, noise=0.005, pool=1.3)
    assert search(little).recommendation.best.candidate.model == "proactor"
    assert search(much).recommendation.best.candidate.model == "pool"
