"""Each experiment is planned within the machine's limits, and measures for real, in a tiny size."""

import time
from dataclasses import replace

import pytest

from halfsync.lab import machine
from halfsync.lab.experiment import Cell, Experiment
from halfsync.lab.experiments.clients import Clients
from halfsync.lab.experiments.lying_clock import CLOSED, OPEN, LyingClock
from halfsync.lab.experiments.overload import CONTROLLED, PLAIN, Overload
from halfsync.lab.experiments.pool_size import COMPUTES, HANDLERS, PoolSize
from halfsync.lab.experiments.slow_clients import SlowClients
from halfsync.lab.laboratory import MODELS, Laboratory, Wanted
from halfsync.lab.running import planned

EXPERIMENTS: tuple[Experiment, ...] = (Clients(), PoolSize(), SlowClients(), Overload(), LyingClock())


def laboratory_for(wanted: Wanted, *, descriptors: int | None = None) -> Laboratory:
    found = machine.read()
    if descriptors is not None:
        found = replace(found, limits=replace(found.limits, descriptors_hard=descriptors))
    return Laboratory(found, wanted, time.monotonic() + 600)


def measured(experiment: Experiment, cell: Cell, wanted: Wanted) -> dict[str, float]:
    laboratory = laboratory_for(wanted)
    plan = planned(experiment, laboratory)
    assert cell in plan.cells
    return dict(experiment.measure(cell, plan, laboratory).metrics)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_a_plan_has_each_cell_once_and_its_reference(experiment: Experiment) -> None:
    plan = planned(experiment, laboratory_for(Wanted(duration_s=0.3, rounds=2)))
    assert len(set(plan.cells)) == len(plan.cells)
    assert plan.reference in plan.cells
    assert plan.rounds == 2
    assert plan.duration_s == 0.3 or experiment.name == "lying-clock"


@pytest.mark.parametrize("experiment", [Clients(), SlowClients()], ids=["clients", "slow-clients"])
def test_a_plan_stays_within_the_limits_and_says_so(experiment: Experiment) -> None:
    plan = planned(experiment, laboratory_for(Wanted(models=("proactor",)), descriptors=500))
    assert 100 < max(cell.place for cell in plan.cells) < 500
    assert len(plan.notes) == 1
    assert "descriptors" in plan.notes[0]


@pytest.mark.parametrize("model", MODELS)
def test_clients(model: str) -> None:
    found = measured(Clients(), Cell(model, 20), Wanted(models=(model,), clients=(20,), duration_s=0.2))
    assert found["open"] == 1.0
    assert found["setup_us"] > 0
    assert found["p99_ms"] > 0
    if model != "pool":  # which closes idle connections while others wait
        assert found["memory_kb"] > 0


def test_a_process_takes_more_memory_than_a_connection() -> None:
    process, proactor = (
        measured(Clients(), Cell(model, 50), Wanted(models=(model,), clients=(50,), duration_s=0.2))[
            "memory_kb"
        ]
        for model in ("process", "proactor")
    )
    assert process > 3 * proactor


@pytest.mark.parametrize("arm", HANDLERS)
def test_pool_size(arm: str) -> None:
    found = measured(PoolSize(), Cell(arm, 8), Wanted(duration_s=0.3))
    assert found["rate"] > 0
    assert found["cpu_us"] > 0
    if arm == COMPUTES:
        assert found["cpu_us"] > 900  # it computes for 1 ms


@pytest.mark.parametrize("model", MODELS)
def test_slow_clients(model: str) -> None:
    found = measured(SlowClients(), Cell(model, 10), Wanted(models=(model,), duration_s=0.5))
    if model == "pool":
        assert found["goodput"] < 50  # 10 slow clients hold its 4 threads
    else:
        assert found["goodput"] > 50


def test_overload() -> None:
    controlled = measured(Overload(), Cell(CONTROLLED, 2.0), Wanted(duration_s=0.6))
    plain = measured(Overload(), Cell(PLAIN, 2.0), Wanted(duration_s=0.6))
    assert controlled["refused"] > 10
    assert plain["refused"] == 0
    assert controlled["goodput"] > plain["goodput"]


def test_lying_clock() -> None:
    hidden = measured(LyingClock(), Cell(CLOSED, 0.7), Wanted())
    seen = measured(LyingClock(), Cell(OPEN, 0.7), Wanted())
    assert hidden["max_ms"] > 600
    assert seen["p99_ms"] > 600
    assert seen["p99_ms"] > hidden["p99_ms"]
