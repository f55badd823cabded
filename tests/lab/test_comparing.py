"""A run of experiments: written down after each sample, judged at its end, and valid wherever it is cut off."""

from pathlib import Path
from typing import Any, cast

import pytest

from halfsync.lab.comparing import Comparison
from halfsync.lab.experiment import Cell, Experiment, MeasureError, Outcome, Plan
from halfsync.lab.laboratory import Wanted
from halfsync.lab.results import Record, Results, read
from halfsync.lab.running import Step
from halfsync.lab.samples import Sample
from tests.lab.fakes import Clock, FakeLaboratory, Invented


class Told:
    """A progress that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.deadlines: list[float] = []

    def begins(self, experiment: Experiment, plan: Plan, deadline: float) -> None:
        self.events.append(f"begins {experiment.name}")
        self.deadlines.append(deadline)

    def measures(self, step: Step) -> None:
        self.events.append(f"measures {step.number}")

    def sampled(self, sample: Sample) -> None:
        self.events.append(f"sampled {sample.arm}")

    def ends(self, record: Record) -> None:
        assert record.verdict is not None
        self.events.append(f"ends {record.verdict.outcome.value}")


class Other(Invented):
    name = "other"


def comparison(folder: Path, told: Told, wanted: Wanted | None = None, budget_s: float = 1e6) -> Comparison:
    laboratory = FakeLaboratory(wanted=wanted or Wanted())
    results = Results(
        "2026-11-30T21:54:03+01:00", ("halfsync", "compare"), {"model": "any"}, {"halfsync": "0.1.0"}
    )
    path = folder / "results.json"
    return Comparison(results, path, cast("Any", laboratory), told, budget_s=budget_s, clock=Clock())


def test_each_experiment_is_measured_judged_and_written(tmp_path: Path) -> None:
    told = Told()
    run = comparison(tmp_path, told)
    run.run([Invented(), Other()])
    assert read(tmp_path / "results.json") == run.results
    assert [record.about.name for record in run.results.records] == ["invented", "other"]
    for record in run.results.records:
        assert record.whole
        assert record.verdict is not None
        assert record.verdict.outcome is Outcome.HOLDS
        assert len(record.samples.samples) == 21
    assert told.events[0] == "begins invented"
    assert told.events[1:3] == ["measures 1", f"sampled {run.results.records[0].samples.samples[0].arm}"]
    assert told.events.count("ends holds") == 2


def test_the_command_line_decides_over_rounds_and_duration(tmp_path: Path) -> None:
    run = comparison(tmp_path, Told(), Wanted(rounds=2, duration_s=9.0))
    run.run([Invented()])
    plan = run.results.records[0].plan
    assert plan is not None
    assert (plan.rounds, plan.duration_s) == (2, 9.0)
    assert len(run.results.records[0].samples.samples) == 14


def test_each_experiment_has_the_budget_for_itself(tmp_path: Path) -> None:
    told = Told()
    run = comparison(tmp_path, told, budget_s=100)
    clock = cast("Clock", run._clock)

    def passes(_cell: Cell) -> None:
        clock.now += 20

    run.run([Invented(passes), Other(passes)])
    assert told.deadlines == [100, 240]
    for record in run.results.records:
        assert {sample.round for sample in record.samples} == {0}
        assert record.took_s == 140
        assert "1 of 3 rounds were measured in the time that was given" in record.notes()


@pytest.mark.parametrize("after", [0, 1, 8, 20])
def test_an_interrupt_leaves_a_valid_partial_result(tmp_path: Path, after: int) -> None:
    told = Told()
    run = comparison(tmp_path, told)
    measured = 0

    def interrupts(_cell: Cell) -> None:
        nonlocal measured
        if measured == after:
            raise KeyboardInterrupt
        measured += 1

    with pytest.raises(KeyboardInterrupt):
        run.run([Invented(interrupts), Other()])
    found = read(tmp_path / "results.json")
    assert found == run.results
    assert not found.whole
    (record,) = found.records
    assert len(record.samples.samples) == after
    assert record.verdict is not None
    assert record.verdict == Invented().judge(record.samples)
    assert told.events[-1] == f"ends {record.verdict.outcome.value}"


def test_an_interrupt_while_a_plan_is_made_leaves_one_too(tmp_path: Path) -> None:
    class Interrupted(Invented):
        def plan(self, laboratory: Any) -> Plan:
            raise KeyboardInterrupt

    run = comparison(tmp_path, Told())
    with pytest.raises(KeyboardInterrupt):
        run.run([Interrupted()])
    (record,) = read(tmp_path / "results.json").records
    assert (record.plan, record.whole) == (None, False)


def test_the_file_is_written_after_each_sample(tmp_path: Path) -> None:
    counts: list[int] = []

    def looks(_cell: Cell) -> None:
        (record,) = read(tmp_path / "results.json").records
        counts.append(len(record.samples.samples))

    comparison(tmp_path, Told()).run([Invented(looks)])
    assert counts == list(range(21))


def test_an_experiment_without_a_plan_says_why_and_the_next_is_measured(tmp_path: Path) -> None:
    class Impossible(Invented):
        def plan(self, laboratory: Any) -> Plan:
            raise MeasureError("the server did not start")

    run = comparison(tmp_path, Told())
    run.run([Impossible(), Other()])
    first, second = run.results.records
    assert first.verdict is not None
    assert (first.verdict.outcome, first.verdict.sentence) == (
        Outcome.NOT_MEASURED,
        "the server did not start",
    )
    assert first.whole
    assert len(second.samples.samples) == 21


def test_a_folder_that_is_full_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        comparison(tmp_path, Told()).run([Invented()])
