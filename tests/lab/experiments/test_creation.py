"""The verdict on creating a process or a thread for each connection follows from the figures."""

import pytest

from halfsync.lab.experiment import Cell, Outcome, Plan
from halfsync.lab.experiments.creation import Creation
from halfsync.lab.laboratory import Laboratory
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, line, samples, without
from tests.lab.experiments.judging import judged

SIZES = (10.0, 100.0, 300.0)
POOL = line("cpu_us", dict.fromkeys(SIZES, 100.0))
PROCESS = line("cpu_us", {10.0: 1500.0, 100.0: 3000.0, 300.0: 6000.0})
THREAD = line("cpu_us", dict.fromkeys(SIZES, 130.0))
TYPICAL = {"process": PROCESS, "thread": THREAD, "pool": POOL, "proactor": POOL}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(Creation(), found)


def test_typical_figures_are_a_claim_within_a_limit() -> None:
    outcome, sentence = judge(samples(TYPICAL))
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert (
        "with a process of its own 15 (14.4 to 15.6) times as much at 10 MB, 60 (57.6 to 62.4) times"
        in sentence
    )
    assert "1.3 (1.25 to 1.35) times" in sentence
    assert "100 µs (98 to 102) of CPU (application of 10 MB)" in sentence


def test_it_holds_if_threads_are_dear_too() -> None:
    dear = line("cpu_us", dict.fromkeys(SIZES, 400.0))
    assert judge(samples({**TYPICAL, "thread": dear}))[0] is Outcome.HOLDS


def test_it_is_within_a_limit_if_a_process_is_dear_in_a_large_parent_only() -> None:
    large = line("cpu_us", {10.0: 120.0, 100.0: 180.0, 300.0: 500.0})
    assert judge(samples({**TYPICAL, "process": large}))[0] is Outcome.WITHIN_A_LIMIT


def test_it_is_not_seen_if_nothing_is_dear() -> None:
    assert judge(samples({**TYPICAL, "process": THREAD}))[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize("pooled", [700.0, 790.0])
def test_noise_above_the_difference_hides_it(pooled: float) -> None:
    """The pool's own figures differ by as much as what is to be seen."""
    noisy = samples(
        {"process": line("cpu_us", {10.0: 1500.0}), "pool": line("cpu_us", {10.0: pooled})},
        twin=("pool", 10.0, {"cpu_us": 350.0}),
    )
    assert judge(noisy)[0] is Outcome.NOT_SEEN


def test_spreads_that_overlap_hide_it() -> None:
    overlapping = {"process": line("cpu_us", {10.0: 220.0}), "pool": line("cpu_us", {10.0: 100.0})}
    assert judge(samples(overlapping))[0] is Outcome.WITHIN_A_LIMIT
    assert judge(samples(overlapping, rounds=WIDE))[0] is Outcome.NOT_SEEN


def test_a_missing_thread_is_named() -> None:
    outcome, sentence = judge(samples(without(TYPICAL, "thread")))
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert "With a thread it was not measured." in sentence


@pytest.mark.parametrize("missing", [("pool",), ("process",), tuple(TYPICAL)])
def test_without_a_process_or_the_pool_nothing_is_said(missing: tuple[str, ...]) -> None:
    assert judge(samples(without(TYPICAL, *missing)))[0] is Outcome.NOT_MEASURED


def test_sizes_at_which_one_is_missing_are_passed_over() -> None:
    outcome, sentence = judge(samples({**TYPICAL, "pool": line("cpu_us", {300.0: 100.0})}))
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert "10 MB" not in sentence


def test_its_plan_has_each_model_at_each_size(laboratory: Laboratory) -> None:
    plan = Creation().plan(laboratory)
    assert {cell.arm for cell in plan.cells} == {"process", "thread", "pool", "proactor"}
    assert {cell.place for cell in plan.cells} == {10.0, 30.0, 100.0, 300.0}
    assert plan.reference in plan.cells


@pytest.mark.parametrize("model", ["process", "thread", "pool", "proactor"])
def test_a_cell_is_measured(model: str, laboratory: Laboratory) -> None:
    plan = Plan((), Cell(model, 10.0), "cpu_us", duration_s=0.3)
    metrics = Creation().measure(Cell(model, 10.0), plan, laboratory).metrics
    assert metrics["rate"] > 10
    assert 1 < metrics["cpu_us"] < 1e6
    assert metrics["switches"] > (0.5 if model == "process" else 0)
