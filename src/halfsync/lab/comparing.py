"""A run of experiments: each planned, measured, judged, and written down as it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from halfsync.lab import results as written
from halfsync.lab.experiment import Experiment, MeasureError, Outcome, Verdict
from halfsync.lab.results import Record, Results
from halfsync.lab.running import planned, run
from halfsync.lab.samples import Sample, Samples

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.progress import Progress


class Comparison:
    """One run. It keeps what was measured, and writes it to `path` after each sample.

    An interrupt, as KeyboardInterrupt, goes on to the caller; `results` are then those of a partial run.
    """

    def __init__(
        self,
        results: Results,
        path: Path,
        laboratory: Laboratory,
        progress: Progress,
        *,
        budget_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.results = results
        self._path = path
        self._laboratory = laboratory
        self._progress = progress
        self._budget_s = budget_s
        self._clock = clock

    def run(self, experiments: Iterable[Experiment]) -> None:
        """Carry out one experiment after another, each within the budget. Raises OSError if nothing can be written."""
        for experiment in experiments:
            self._run(experiment)

    def _run(self, experiment: Experiment) -> None:
        began = self._clock()
        self._laboratory.deadline = began + self._budget_s
        record = Record(written.about(experiment))
        self._keep(record)
        samples: list[Sample] = []

        def keep(sample: Sample) -> None:
            nonlocal record
            samples.append(sample)
            record = replace(record, samples=Samples(tuple(samples)), took_s=self._clock() - began)
            self._keep(record)
            self._progress.sampled(sample)

        try:
            plan = planned(experiment, self._laboratory)
            record = replace(record, plan=plan)
            self._progress.begins(experiment, plan, self._laboratory.deadline)
            run(
                experiment,
                self._laboratory,
                plan,
                on_sample=keep,
                on_step=self._progress.measures,
                clock=self._clock,
            )
            record = replace(record, whole=True)
        except MeasureError as error:
            # Nothing can be planned, and so nothing measured: that is the result.
            record = replace(record, whole=True, verdict=Verdict(Outcome.NOT_MEASURED, f"{error}"))
        finally:
            record = replace(record, took_s=self._clock() - began)
            if record.verdict is None:
                record = replace(record, verdict=experiment.judge(record.samples))
            self._keep(record)
            self._progress.ends(record)

    def _keep(self, record: Record) -> None:
        self.results = self.results.with_record(record)
        written.write(self.results, self._path)
