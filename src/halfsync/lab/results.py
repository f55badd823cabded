"""results.json: all that a run has measured, written anew after each sample and read back.

The file is always whole: it is written beside its place and renamed. So a run that was cut off, by whatever, leaves a
valid file, whose last experiment says that it is partial. `SCHEMA` is the version of its form.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from halfsync.errors import HalfsyncError
from halfsync.lab.experiment import Axis, Cell, Experiment, Outcome, Plan, Plot, Published, Verdict
from halfsync.lab.samples import Sample, Samples

SCHEMA = 1


class ResultsError(HalfsyncError):
    """A file is not results.json, or is of another version."""


@dataclass(frozen=True, slots=True)
class About:
    """What an experiment says of itself: all that a report needs besides the figures."""

    name: str
    title: str
    claim: str
    said_by: str
    method: str
    axis: Axis
    plots: tuple[Plot, ...]
    published: tuple[Published, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """One experiment of a run. `whole`: it came to its end; if not, it runs, or was interrupted.

    `plan` is None if none could be made, for the reason in `verdict`.
    """

    about: About
    plan: Plan | None = None
    samples: Samples = field(default_factory=Samples)
    verdict: Verdict | None = None
    whole: bool = False
    took_s: float = 0.0

    def notes(self) -> tuple[str, ...]:
        """Return what limits the figures: what the plan and the samples note, and rounds that are missing."""
        planned = self.plan.notes if self.plan else ()
        return tuple(dict.fromkeys((*planned, *self.samples.notes(), *self._rounds_missing())))

    def arms(self) -> tuple[str, ...]:
        """Return the arms in the order in which the experiment names them; they are measured in changing ones."""
        return tuple(dict.fromkeys(cell.arm for cell in self.plan.cells)) if self.plan else ()

    def noise(self) -> float | None:
        """Return the noise floor of the primary metric, or None if it is not known."""
        return self.samples.noise(self.plan.primary) if self.plan else None

    def _rounds_missing(self) -> tuple[str, ...]:
        if self.plan is None or not self.whole:
            return ()
        rounds = len({sample.round for sample in self.samples})
        if rounds >= self.plan.rounds:
            return ()
        return (f"{rounds} of {self.plan.rounds} rounds were measured in the time that was given",)


@dataclass(frozen=True, slots=True)
class Results:
    """A run: where, when and how it was made, and its experiments.

    `command` is the command line, `machine` the record of the machine, `versions` are those of the programs that
    measured, by name. `started` is in local time with its offset from UTC, as ISO 8601 has it.
    """

    started: str
    command: tuple[str, ...]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    application: str | None = None
    records: tuple[Record, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether every experiment came to its end."""
        return all(record.whole for record in self.records)

    def with_record(self, record: Record) -> Results:
        """Return these results with a record in the place of that of the same experiment, or at the end."""
        names = [each.about.name for each in self.records]
        if record.about.name not in names:
            return replace(self, records=(*self.records, record))
        at = names.index(record.about.name)
        return replace(self, records=(*self.records[:at], record, *self.records[at + 1 :]))


def about(experiment: Experiment) -> About:
    """Return what an experiment says of itself."""
    return About(
        name=experiment.name,
        title=experiment.title,
        claim=experiment.claim,
        said_by=experiment.said_by,
        method=experiment.method,
        axis=experiment.axis,
        plots=experiment.plots,
        published=experiment.published,
    )


def write(results: Results, path: Path) -> None:
    """Write results.json. Raises OSError."""
    write_whole(path, json.dumps(as_json(results), indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file as a whole: whoever reads it finds either what it was before or all of this. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: Path) -> Results:
    """Read a file that `write` has written. Raises OSError, and ResultsError if it is anything else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        schema = found["schema"]
        if schema == SCHEMA:
            return _results(found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(f"{path}: not the results of a run: {error!r}") from None
    raise ResultsError(f"{path}: written by another version of halfsync: schema {schema!r}, not {SCHEMA}")


def as_json(results: Results) -> dict[str, Any]:
    """Return results as JSON has them."""
    return {
        "schema": SCHEMA,
        "started": results.started,
        "command": list(results.command),
        "whole": results.whole,
        "application": results.application,
        "machine": dict(results.machine),
        "versions": dict(results.versions),
        "experiments": [_record_as_json(record) for record in results.records],
    }


def _record_as_json(record: Record) -> dict[str, Any]:
    verdict, noise = record.verdict, record.noise()
    return {
        "about": asdict(record.about),
        "state": "whole" if record.whole else "partial",
        "took_s": round(record.took_s, 3),
        "verdict": None
        if verdict is None
        else {"outcome": verdict.outcome.value, "sentence": verdict.sentence},
        "noise": noise,
        "notes": list(record.notes()),
        "plan": None if record.plan is None else _plan_as_json(record.plan),
        "samples": [sample.as_json() for sample in record.samples],
    }


def _plan_as_json(plan: Plan) -> dict[str, Any]:
    return {
        "cells": [asdict(cell) for cell in plan.cells],
        "reference": asdict(plan.reference),
        "primary": plan.primary,
        "rounds": plan.rounds,
        "duration_s": plan.duration_s,
        "notes": list(plan.notes),
        "found": dict(plan.found),
    }


def _results(found: Mapping[str, Any]) -> Results:
    return Results(
        started=found["started"],
        command=tuple(found["command"]),
        machine=found["machine"],
        versions=found["versions"],
        application=found["application"],
        records=tuple(_record(each) for each in found["experiments"]),
    )


def _record(found: Mapping[str, Any]) -> Record:
    verdict = found["verdict"]
    return Record(
        about=_about(found["about"]),
        plan=None if found["plan"] is None else _plan(found["plan"]),
        samples=Samples(tuple(Sample(**each) for each in found["samples"])),
        verdict=None if verdict is None else Verdict(Outcome(verdict["outcome"]), verdict["sentence"]),
        whole=found["state"] == "whole",
        took_s=found["took_s"],
    )


def _about(found: Mapping[str, Any]) -> About:
    plots = [{**each, "lines": tuple(map(tuple, each["lines"]))} for each in found["plots"]]
    return About(
        **{
            **found,
            "axis": Axis(**found["axis"]),
            "plots": tuple(Plot(**each) for each in plots),
            "published": tuple(Published(**each) for each in found["published"]),
        }
    )


def _plan(found: Mapping[str, Any]) -> Plan:
    return Plan(
        **{
            **found,
            "cells": tuple(Cell(**each) for each in found["cells"]),
            "reference": Cell(**found["reference"]),
            "notes": tuple(found["notes"]),
        }
    )
