"""The verdict on the queue between the halves follows from the figures."""

import pytest

from halfsync.lab.experiment import Cell, Outcome, Plan
from halfsync.lab.experiments.hop import Hop
from halfsync.lab.laboratory import Laboratory
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, samples, without
from tests.lab.experiments.judging import judged

LENGTHS = (0.0, 10.0, 100.0, 1000.0)


def curve(cost_us: float, crowd_us: float = 20.0) -> dict[float, dict[str, float]]:
    """Return a model that costs so much besides the application."""
    return {
        length: {"one_cpu_us": length + cost_us, "cpu_us": length + crowd_us, "one_p50_us": length + cost_us}
        for length in LENGTHS
    }


TYPICAL = {"proactor": curve(50.0), "pool": curve(30.0), "thread": curve(30.0, 30.0)}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(Hop(), found)


def test_a_hop_that_long_turns_hide_is_within_a_limit() -> None:
    outcome, sentence = judge(samples(TYPICAL))
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert "50 µs (49 to 51) of CPU through the queue and 30 µs" in sentence
    assert "From 1,000 µs of the application on, the difference is less than 10 %." in sentence
    assert "With 32 clients at one time: 20 µs (19.6 to 20.4) and 30 µs" in sentence


def test_it_holds_if_long_turns_do_not_hide_it() -> None:
    outcome, sentence = judge(samples({**TYPICAL, "proactor": curve(400.0)}))
    assert outcome is Outcome.HOLDS
    assert "still more than 10 %" in sentence


@pytest.mark.parametrize("cost_us", [20.0, 30.0, 32.0])
def test_it_is_not_seen_if_the_queue_costs_next_to_nothing(cost_us: float) -> None:
    outcome, sentence = judge(samples({**TYPICAL, "proactor": curve(cost_us)}))
    assert outcome is Outcome.NOT_SEEN
    assert "less than" not in sentence


def test_spreads_that_overlap_hide_it() -> None:
    assert judge(samples(TYPICAL, rounds=WIDE))[0] is Outcome.NOT_SEEN


def test_noise_above_the_difference_hides_it() -> None:
    noisy = samples(TYPICAL, twin=("proactor", 0.0, {"one_cpu_us": 120.0}))
    assert judge(noisy)[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize("missing", [("proactor",), ("thread",), tuple(TYPICAL)])
def test_without_both_nothing_is_said(missing: tuple[str, ...]) -> None:
    assert judge(samples(without(TYPICAL, *missing)))[0] is Outcome.NOT_MEASURED


def test_without_an_application_that_answers_at_once_nothing_is_said() -> None:
    long = {
        arm: {length: found for length, found in curve.items() if length} for arm, curve in TYPICAL.items()
    }
    assert judge(samples(long))[0] is Outcome.NOT_MEASURED


def test_its_plan_has_three_models_at_each_length(laboratory: Laboratory) -> None:
    plan = Hop().plan(laboratory)
    assert {cell.arm for cell in plan.cells} == {"thread", "pool", "proactor"}
    assert {cell.place for cell in plan.cells} == {0.0, 10.0, 30.0, 100.0, 300.0, 1000.0}
    assert plan.reference in plan.cells


@pytest.mark.parametrize("model", ["thread", "pool", "proactor"])
def test_a_cell_is_measured(model: str, laboratory: Laboratory) -> None:
    plan = Plan((), Cell(model, 300.0), "one_cpu_us", duration_s=0.3)
    metrics = Hop().measure(Cell(model, 300.0), plan, laboratory).metrics
    assert metrics["one_cpu_us"] > 300
    assert metrics["cpu_us"] > 300
    assert metrics["one_p50_us"] > 300
    assert metrics["one_switches"] > 0.2
