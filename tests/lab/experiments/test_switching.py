"""The verdict on switches follows from the figures, and both kinds of sides take turns."""

import dataclasses
from collections.abc import Mapping

import pytest

from halfsync.lab.errors import MeasureError
from halfsync.lab.experiment import Cell, Outcome, Plan
from halfsync.lab.experiments import switching
from halfsync.lab.experiments.switching import ACROSS, PROCESSES, THREADS, TURNS, Switching
from halfsync.lab.laboratory import Laboratory
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, samples, without
from tests.lab.experiments.judging import judged

WORK_US = {0.0: 1.0, 64.0: 2.0, 4096.0: 80.0}


def curve(switch_us: Mapping[float, float]) -> dict[float, dict[str, float]]:
    return {
        size: {
            "switch_us": switch,
            "turn_cpu_us": switch + WORK_US[size],
            "turn_us": switch + WORK_US[size],
            "alone_us": WORK_US[size],
        }
        for size, switch in switch_us.items()
    }


TYPICAL = {
    THREADS: curve({0.0: 1.6, 64.0: 1.7, 4096.0: 3.0}),
    PROCESSES: curve({0.0: 1.8, 64.0: 2.0, 4096.0: 4.0}),
    ACROSS[0]: curve({0.0: 30.0}),
    ACROSS[1]: curve({0.0: 31.0}),
    "proactor": {0.0: {"switches": 0.5}},
    "thread": {0.0: {"switches": 1.25}},
}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(Switching(), found)


def test_typical_figures_do_not_show_the_claim() -> None:
    outcome, sentence = judge(samples(TYPICAL))
    assert outcome is Outcome.NOT_SEEN
    assert (
        "1.6 µs (1.57 to 1.63) of CPU between threads and 1.8 µs (1.76 to 1.84) between processes, with a"
        in sentence
    )
    assert "Across processors a turn takes 31 µs (30.4 to 31.6) and 32 µs" in sentence
    assert "Voluntary switches for each request: proactor 0.5 (0.49 to 0.51) and thread 1.25" in sentence


def test_it_holds_if_processes_are_much_dearer_with_each_set() -> None:
    dear = curve({0.0: 5.0, 64.0: 6.0, 4096.0: 20.0})
    assert judge(samples({**TYPICAL, PROCESSES: dear}))[0] is Outcome.HOLDS


def test_it_is_within_a_limit_if_they_are_with_some() -> None:
    some = curve({0.0: 1.8, 64.0: 6.0, 4096.0: 4.0})
    outcome, sentence = judge(samples({**TYPICAL, PROCESSES: some}))
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert "only with 64 KB" in sentence


def test_a_small_difference_of_large_turns_does_not_count() -> None:
    """1 and 4 µs of turns of 80 µs may be chance, whatever their ratio."""
    chance = {THREADS: curve({0.0: 1.6, 4096.0: 1.0}), PROCESSES: curve({0.0: 1.8, 4096.0: 4.0})}
    assert judge(samples(chance, rounds=(1.0, 1.0, 1.0)))[0] is Outcome.NOT_SEEN


def test_spreads_that_overlap_hide_it() -> None:
    close = {THREADS: curve({0.0: 1.0}), PROCESSES: curve({0.0: 2.2})}
    assert judge(samples(close))[0] is Outcome.HOLDS
    assert judge(samples(close, rounds=WIDE))[0] is Outcome.NOT_SEEN


def test_noise_above_the_difference_hides_it() -> None:
    noisy = samples(
        {THREADS: curve({0.0: 1.0}), PROCESSES: curve({0.0: 2.5})},
        twin=(THREADS, 0.0, {"switch_us": 2.0, "turn_cpu_us": 3.0}),
    )
    assert judge(noisy)[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize("missing", [(THREADS,), (PROCESSES,), tuple(TYPICAL)])
def test_without_threads_or_processes_nothing_is_said(missing: tuple[str, ...]) -> None:
    assert judge(samples(without(TYPICAL, *missing)))[0] is Outcome.NOT_MEASURED


def test_it_needs_neither_two_processors_nor_the_models() -> None:
    outcome, sentence = judge(samples(without(TYPICAL, *ACROSS, "proactor", "thread")))
    assert outcome is Outcome.NOT_SEEN
    assert "Across" not in sentence
    assert "Voluntary" not in sentence


def test_its_plan_has_all_arms_for_two_processors(laboratory: Laboratory) -> None:
    plan = Switching().plan(laboratory)
    arms = {cell.arm for cell in plan.cells}
    two = switching.other_cpu(laboratory) is not None
    assert arms >= {"process", "thread", "pool", "proactor", THREADS, PROCESSES}
    assert arms.issuperset(ACROSS) == two
    assert plan.reference in plan.cells
    assert any("TLB" in note for note in plan.notes)


def test_on_one_processor_nothing_goes_across(laboratory: Laboratory) -> None:
    one = laboratory.machine.cpus[:1]
    laboratory = Laboratory(
        dataclasses.replace(laboratory.machine, cpus=one), laboratory.wanted, laboratory.deadline
    )
    plan = Switching().plan(laboratory)
    assert not {cell.arm for cell in plan.cells} & set(ACROSS)
    assert any("across processors" in note for note in plan.notes)


@pytest.mark.parametrize("arm", list(TURNS))
@pytest.mark.parametrize("size", [0.0, 64.0])
def test_turns_are_measured(arm: str, size: float, laboratory: Laboratory) -> None:
    if arm in ACROSS and switching.other_cpu(laboratory) is None:
        pytest.skip("there is one processor only")
    plan = Plan((), Cell(arm, size), "turn_us")
    metrics = Switching().measure(Cell(arm, size), plan, laboratory).metrics
    assert 0.1 < metrics["turn_us"] < 1e5
    assert metrics["alone_us"] > 0
    assert 0.5 * metrics["alone_us"] < metrics["turn_cpu_us"]
    if arm not in ACROSS:
        assert metrics["switch_us"] > 0
    assert 0.3 <= metrics["switches_per_turn"] < 2


def test_a_ping_pong_that_fails_is_an_error(laboratory: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switching, "PING_PONG", "raise OSError('no pipes')")
    with pytest.raises(MeasureError, match="no pipes"):
        Switching().measure(Cell(THREADS, 0.0), Plan((), Cell(THREADS, 0.0), "turn_us"), laboratory)


@pytest.mark.parametrize("model", ["process", "thread", "pool", "proactor"])
def test_a_model_is_measured(model: str, laboratory: Laboratory) -> None:
    plan = Plan((), Cell(model, 64.0), "turn_us", duration_s=0.3)
    metrics = Switching().measure(Cell(model, 64.0), plan, laboratory).metrics
    assert 0.01 < metrics["switches"] < 20
    assert metrics["cpu_us"] > 1
