"""A plan carried out: rounds, each in an order of its own, with a twin of the reference, within the time there is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from halfsync.lab.experiment import Cell, Measured, MeasureError
from halfsync.lab.samples import Sample, Samples

if TYPE_CHECKING:
    from halfsync.lab.experiment import Experiment, Plan
    from halfsync.lab.laboratory import Laboratory


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement that a plan asks for: the cell, its round, and which of all `steps` it is, from 1."""

    cell: Cell
    round: int
    twin: bool
    number: int
    steps: int
    steps_in_round: int


def planned(experiment: Experiment, laboratory: Laboratory) -> Plan:
    """Return an experiment's plan, with the rounds and the duration that the command line asks for."""
    plan = experiment.plan(laboratory)
    wanted = laboratory.wanted
    if wanted.duration_s is not None:
        plan = replace(plan, duration_s=max(wanted.duration_s, plan.least_s))
    if wanted.rounds is not None:
        plan = replace(plan, rounds=wanted.rounds)
    return plan


def _ignore(_step: Step) -> None:
    pass


def round_of(plan: Plan, number: int) -> list[Step]:
    """Return the steps of a round, numbered from 0, in an order that depends on its number only.

    The order differs from round to round, so that a machine that changes its speed does so for all cells alike.
    """
    wanted = [(cell, False) for cell in plan.cells]
    wanted.append((plan.reference, True))
    random.Random(number).shuffle(wanted)
    first, steps = number * len(wanted) + 1, plan.rounds * len(wanted)
    return [
        Step(cell, number, twin, at, steps, len(wanted))
        for at, (cell, twin) in enumerate(wanted, start=first)
    ]


def run(
    experiment: Experiment,
    laboratory: Laboratory,
    plan: Plan,
    *,
    on_sample: Callable[[Sample], None],
    on_step: Callable[[Step], None] = _ignore,
    clock: Callable[[], float] = time.monotonic,
) -> Samples:
    """Measure what the plan asks for, and return the samples.

    The first round is always measured. A further round begins only if one like those before would end before the
    laboratory's deadline: fewer rounds of every cell say more than many rounds of some. A measurement that fails
    gives a sample without metrics, whose note says why. An interrupt goes on to the caller, which has been given each
    sample so far by `on_sample`.
    """
    samples: list[Sample] = []
    longest_s = 0.0
    for number in range(plan.rounds):
        began = clock()
        if number and began + longest_s > laboratory.deadline:
            break
        for step in round_of(plan, number):
            on_step(step)
            sample = _measure(experiment, laboratory, plan, step)
            samples.append(sample)
            on_sample(sample)
        longest_s = max(longest_s, clock() - began)
    return Samples(tuple(samples))


def _measure(experiment: Experiment, laboratory: Laboratory, plan: Plan, step: Step) -> Sample:
    cell = step.cell
    try:
        measured = experiment.measure(cell, plan, laboratory)
    except MeasureError as error:
        measured = Measured({}, f"{cell.arm} at {cell.place:g}: {error}")
    return Sample(cell.arm, cell.place, step.round, measured.metrics, measured.note, step.twin)
