"""The verdict on the convoy follows from the figures, and a further interpreter is asked what it is."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from halfsync.lab.errors import MeasureError
from halfsync.lab.experiment import Cell, Outcome, Plan
from halfsync.lab.experiments.convoy import ALONE, FREE, GIVEN, ONE, Convoy, kind_of
from halfsync.lab.laboratory import Laboratory
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, line, samples, without
from tests.lab.experiments.judging import judged


def waits(values: Mapping[float, float]) -> dict[float, dict[str, float]]:
    return line("p50_ms", values)


TYPICAL = {
    ALONE: waits({0.05: 0.08, 0.5: 0.08, 5.0: 0.08}),
    ONE: waits({0.05: 0.15, 0.5: 0.6, 5.0: 5.2}),
    "4 busy threads": waits({0.05: 0.5, 0.5: 2.0, 5.0: 20.0}),
}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(Convoy(), found)


def test_typical_figures_show_the_claim() -> None:
    outcome, sentence = judge(samples(TYPICAL))
    assert outcome is Outcome.HOLDS
    assert "5.2 ms (5.1 to 5.3) for an answer instead of 0.08 ms" in sentence
    assert "0.15 ms (0.147 to 0.153) with 0.05 ms" in sentence


def test_it_is_within_a_limit_if_the_interval_does_not_help() -> None:
    stuck = waits({0.05: 4.0, 5.0: 5.2})
    assert judge(samples({**TYPICAL, ONE: stuck}))[0] is Outcome.WITHIN_A_LIMIT


def test_it_is_within_a_limit_if_only_the_usual_interval_was_measured() -> None:
    usual = {ALONE: waits({5.0: 0.08}), ONE: waits({5.0: 5.2})}
    outcome, sentence = judge(samples(usual))
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert sentence.endswith("interval of 5 ms.")


def test_what_many_clients_lose_is_told() -> None:
    crowd = {ALONE: {5.0: {"crowd_rate": 20_000.0}}, ONE: {5.0: {"crowd_rate": 9_000.0}}}
    both = {arm: {5.0: {**TYPICAL[arm][5.0], **crowd[arm][5.0]}} for arm in crowd}
    _, sentence = judge(samples(both))
    assert "32 clients have 9,000 /s (8,820 to 9,180) instead of 20,000 /s" in sentence
    assert "32 clients" not in judge(samples(TYPICAL))[1]


@pytest.mark.parametrize("wait_ms", [0.07, 0.12, 0.2])
def test_a_thread_that_only_takes_its_share_is_no_convoy(wait_ms: float) -> None:
    shared = waits({0.05: wait_ms, 5.0: wait_ms})
    assert judge(samples({**TYPICAL, ONE: shared}))[0] is Outcome.NOT_SEEN


CLOSE = {ALONE: waits({0.05: 0.1, 5.0: 0.1}), ONE: waits({0.05: 0.15, 5.0: 1.0})}


def test_spreads_that_overlap_hide_it() -> None:
    assert judge(samples(CLOSE))[0] is Outcome.HOLDS
    assert judge(samples(CLOSE, rounds=(0.1, 1.0, 11.0)))[0] is Outcome.NOT_SEEN
    assert judge(samples(TYPICAL, rounds=WIDE))[0] is Outcome.HOLDS


def test_noise_above_the_difference_hides_it() -> None:
    assert judge(samples(CLOSE, twin=(ALONE, 5.0, {"p50_ms": 0.2})))[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize("missing", [(ALONE,), (ONE,), tuple(TYPICAL)])
def test_without_both_nothing_is_said(missing: tuple[str, ...]) -> None:
    assert judge(samples(without(TYPICAL, *missing)))[0] is Outcome.NOT_MEASURED


def test_without_the_usual_interval_nothing_is_said() -> None:
    short = {arm: {0.05: curve[0.05]} for arm, curve in TYPICAL.items()}
    assert judge(samples(short))[0] is Outcome.NOT_MEASURED


@pytest.mark.parametrize("kind", [FREE, GIVEN])
def test_a_further_interpreter_is_told_of(kind: str) -> None:
    more = {f"{ALONE}, {kind}": waits({5.0: 0.09}), f"{ONE}, {kind}": waits({5.0: 0.11})}
    outcome, sentence = judge(samples({**TYPICAL, **more}))
    assert outcome is Outcome.HOLDS
    assert f"The interpreter that is {kind}: 0.11 ms (0.108 to 0.112) instead of 0.09 ms" in sentence


def test_this_interpreter_has_a_kind() -> None:
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    assert kind_of(sys.executable) == (FREE if free else GIVEN)


def test_an_interpreter_that_does_not_run_halfsync_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="does not run"):
        kind_of(str(tmp_path / "python"))
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho no halfsync here >&2\nexit 1\n")
    other.chmod(0o755)
    with pytest.raises(MeasureError, match="no halfsync here"):
        kind_of(str(other))


def wanting(laboratory: Laboratory, python: str) -> Laboratory:
    wanted = dataclasses.replace(laboratory.wanted, python=python)
    return Laboratory(laboratory.machine, wanted, laboratory.deadline)


def test_its_plan_has_each_number_of_threads_at_each_interval(laboratory: Laboratory) -> None:
    plan = Convoy().plan(laboratory)
    assert len(plan.cells) == 9
    assert plan.reference in plan.cells
    more = Convoy().plan(wanting(laboratory, sys.executable))
    assert len(more.cells) == 18
    assert any(sys.executable in note for note in more.notes)


def test_an_interpreter_that_does_not_run_is_noted(laboratory: Laboratory) -> None:
    plan = Convoy().plan(wanting(laboratory, "/nowhere/python"))
    assert len(plan.cells) == 9
    assert any("/nowhere/python" in note for note in plan.notes)


def test_a_busy_thread_is_measured(laboratory: Laboratory) -> None:
    experiment, plan = Convoy(), Plan((), Cell(ALONE, 5.0), "p50_ms", duration_s=0.5)
    alone = experiment.measure(Cell(ALONE, 5.0), plan, laboratory).metrics
    beside = experiment.measure(Cell(ONE, 5.0), plan, laboratory).metrics
    assert alone["rate"] > beside["rate"] > 0
    assert beside["p99_ms"] >= 1


def test_a_further_interpreter_is_measured(laboratory: Laboratory) -> None:
    laboratory = wanting(laboratory, sys.executable)
    cell = Cell(f"{ALONE}, {GIVEN}", 5.0)
    metrics = Convoy().measure(cell, Plan((), cell, "p50_ms", duration_s=0.3), laboratory).metrics
    assert metrics["rate"] > 10
