"""results.json: all of a run comes back as it was, and the file is whole at any time."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from halfsync.lab.experiment import Outcome, Verdict
from halfsync.lab.results import SCHEMA, Record, Results, ResultsError, about, as_json, read, write
from halfsync.lab.running import run
from halfsync.lab.samples import Samples
from tests.lab.fakes import FakeLaboratory, Invented, fails_at

LABORATORY = cast("Any", FakeLaboratory())


def a_record(experiment: Invented | None = None, *, whole: bool = True) -> Record:
    experiment = experiment or Invented()
    plan = experiment.plan(LABORATORY)
    samples = run(experiment, LABORATORY, plan, on_sample=lambda _: None)
    return Record(about(experiment), plan, samples, experiment.judge(samples), whole, 12.5)


def some_results(*records: Record) -> Results:
    return Results(
        started="2026-11-30T21:54:03+01:00",
        command=("halfsync", "compare", "shop:app & co"),
        machine={
            "model": "A <processor>",
            "memory_bytes": 8 << 30,
            "limits": {"pid_max": 32768, "cgroup_pids": None},
        },
        versions={"halfsync": "0.1.0", "matplotlib": "3.11"},
        application="shop:app",
        records=records,
    )


def test_all_of_a_run_comes_back(tmp_path: Path) -> None:
    results = some_results(a_record(), replace(a_record(), whole=False, verdict=None, plan=None))
    write(results, tmp_path / "results.json")
    assert read(tmp_path / "results.json") == results


def test_the_file_says_what_people_ask_of_it(tmp_path: Path) -> None:
    write(some_results(a_record()), tmp_path / "results.json")
    found = json.loads((tmp_path / "results.json").read_text())
    assert (found["schema"], found["whole"]) == (SCHEMA, True)
    (experiment,) = found["experiments"]
    assert experiment["about"]["claim"] == Invented.claim
    assert experiment["about"]["plots"][0]["unit"] == "µs"
    assert experiment["state"] == "whole"
    assert experiment["verdict"]["outcome"] == "holds"
    assert experiment["noise"] > 0
    assert len(experiment["samples"]) == 21
    assert experiment["samples"][0].keys() == {"arm", "place", "round", "metrics", "note", "twin"}


def test_one_unfinished_experiment_makes_a_run_partial() -> None:
    part = replace(a_record(), whole=False)
    assert as_json(some_results(part))["whole"] is False
    assert as_json(some_results(part))["experiments"][0]["state"] == "partial"


def test_a_write_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    write(some_results(), path)
    before = path.read_bytes()

    def fails(self: Path, *_args: object, **_kwargs: object) -> int:
        self.touch()
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(OSError, match="No space left"):
        write(some_results(a_record()), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not the results of a run"),
        ("[]", "not the results of a run"),
        ('{"schema": 1}', "not the results of a run"),
        ('{"schema": 1, "started": 1, "command": 5}', "not the results of a run"),
        ('{"schema": 99}', "schema 99, not 1"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ResultsError, match=said) as caught:
        read(tmp_path / "other.json")
    assert "other.json" in str(caught.value)


def test_a_record_takes_the_place_of_the_one_of_the_same_experiment() -> None:
    first, other = a_record(), replace(a_record(), about=replace(about(Invented()), name="other"))
    results = some_results().with_record(first).with_record(other)
    later = replace(first, verdict=Verdict(Outcome.NOT_SEEN, "later"))
    assert results.with_record(later).records == (later, other)


def test_notes_are_those_of_the_plan_and_of_the_samples_and_say_which_rounds_are_missing() -> None:
    record = a_record(Invented(fails_at(1.0)))
    few = replace(record, samples=Samples(tuple(s for s in record.samples if s.round == 0)))
    assert set(few.notes()) == {
        "only 100 descriptors",
        "pool at 1: no descriptors left",
        "proactor at 1: no descriptors left",
        "1 of 3 rounds were measured in the time that was given",
    }
    assert not any("rounds" in note for note in record.notes())
    assert not any("rounds" in note for note in replace(few, whole=False).notes())
