"""A plan carried out: every cell in each round, in changing orders, with a twin, within the time, until interrupted."""

from typing import Any, cast

import pytest

from halfsync.lab.experiment import Cell, Plan
from halfsync.lab.running import Step, round_of, run
from halfsync.lab.samples import Sample
from tests.lab.fakes import Clock, FakeLaboratory, Invented, fails_at

LABORATORY = cast("Any", FakeLaboratory())
PLAN = Invented().plan(LABORATORY)


def test_each_round_has_each_cell_once_and_the_reference_twice() -> None:
    samples = run(Invented(), LABORATORY, PLAN, on_sample=lambda _: None)
    for number in range(PLAN.rounds):
        of_round = [sample for sample in samples if sample.round == number]
        singles = [(sample.arm, sample.place) for sample in of_round if not sample.twin]
        assert sorted(singles) == sorted((cell.arm, cell.place) for cell in PLAN.cells)
        twins = [(sample.arm, sample.place) for sample in of_round if sample.twin]
        assert twins == [(PLAN.reference.arm, PLAN.reference.place)]
    assert samples.noise("cpu_us") is not None


def test_each_round_has_an_order_of_its_own_which_is_always_the_same() -> None:
    orders = [tuple((step.cell, step.twin) for step in round_of(PLAN, number)) for number in range(3)]
    assert len(set(orders)) == 3
    assert orders == [tuple((step.cell, step.twin) for step in round_of(PLAN, number)) for number in range(3)]


def test_no_arm_comes_first_in_all_rounds() -> None:
    first_arms = {round_of(PLAN, number)[0].cell.arm for number in range(20)}
    assert first_arms == {cell.arm for cell in PLAN.cells}


def test_steps_are_counted_over_all_rounds() -> None:
    steps: list[Step] = []
    run(Invented(), LABORATORY, PLAN, on_sample=lambda _: None, on_step=steps.append)
    assert [step.number for step in steps] == list(range(1, 22))
    assert {step.steps for step in steps} == {21}


@pytest.mark.parametrize(("deadline", "rounds"), [(0.0, 1), (139.0, 1), (140.0, 2), (210.0, 3), (1e9, 3)])
def test_a_round_begins_only_if_it_can_end_in_time(deadline: float, rounds: int) -> None:
    clock = Clock()

    def passes(_cell: Cell) -> None:
        clock.now += 10

    laboratory = cast("Any", FakeLaboratory(deadline))
    samples = run(Invented(passes), laboratory, PLAN, on_sample=lambda _: None, clock=clock)
    assert {sample.round for sample in samples} == set(range(rounds))
    assert len(samples.samples) == rounds * 7


def test_a_failed_measurement_is_a_sample_with_its_reason() -> None:
    samples = run(Invented(fails_at(100.0)), LABORATORY, PLAN, on_sample=lambda _: None)
    failed = [sample for sample in samples if sample.place == 100.0]
    assert len(failed) == 6
    assert all(sample.metrics == {} for sample in failed)
    assert samples.notes() == (
        "pool at 100: no descriptors left",
        "proactor at 100: no descriptors left",
    ) or samples.notes() == ("proactor at 100: no descriptors left", "pool at 100: no descriptors left")
    assert all(sample.metrics for sample in samples if sample.place != 100.0)


def test_an_interrupt_leaves_what_was_measured_with_the_caller() -> None:
    seen: list[Sample] = []

    def interrupts(_cell: Cell) -> None:
        if len(seen) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Invented(interrupts), LABORATORY, PLAN, on_sample=seen.append)
    assert len(seen) == 9
    assert {sample.round for sample in seen} == {0, 1}


def test_a_plan_of_one_cell_is_measured_with_its_twin() -> None:
    cell = Cell("pool", 1.0)
    seen: list[Sample] = []
    run(Invented(), LABORATORY, Plan((cell,), cell, "cpu_us", rounds=2), on_sample=seen.append)
    assert sorted((sample.round, sample.twin) for sample in seen) == [
        (0, False),
        (0, True),
        (1, False),
        (1, True),
    ]
