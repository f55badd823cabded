"""What the terminal shows while a run is under way: a live view, or plain lines if it is no terminal.

Both are told the same: an experiment begins, a measurement begins, a sample is there, the experiment has ended.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from halfsync.lab.experiment import Experiment, Outcome, Plan
from halfsync.lab.judging import number
from halfsync.lab.results import Record
from halfsync.lab.running import Step
from halfsync.lab.samples import Sample
from halfsync.lab.wording import duration

REFRESHES_PER_S = 4
LATEST = 6
"""How many of the latest measurements the live view has."""
BAR_WIDTH = 24
STYLES = {
    Outcome.HOLDS: "green",
    Outcome.WITHIN_A_LIMIT: "yellow",
    Outcome.NOT_SEEN: "blue",
    Outcome.NOT_MEASURED: "dim",
}


class Progress(Protocol):
    """What is told of a run. Called by the main thread."""

    def begins(self, experiment: Experiment, plan: Plan, deadline: float) -> None:
        """An experiment begins, which is to end by the deadline on the monotonic clock."""

    def measures(self, step: Step) -> None:
        """A measurement begins."""

    def sampled(self, sample: Sample) -> None:
        """A measurement has ended."""

    def ends(self, record: Record) -> None:
        """An experiment has ended, or was interrupted."""


@dataclass(slots=True)
class Pace:
    """How fast a plan goes on, and so how much time is left."""

    began: float
    deadline: float
    step: Step | None = None

    def left_s(self, now: float) -> float | None:
        """Return about how long it takes to the end of the plan, in seconds; None: nothing is known yet.

        What does not fit before the deadline is left out, but for the round that runs.
        """
        if self.step is None or self.step.number == 1:
            return None
        a_step_s = (now - self.began) / (self.step.number - 1)
        a_round = self.step.steps_in_round
        left = self.step.steps - self.step.number + 1
        left_of_round = a_round - (self.step.number - 1) % a_round
        longest_s = max(self.deadline - now, left_of_round * a_step_s)
        return min(left * a_step_s, longest_s)


def figures(sample: Sample, experiment: Experiment) -> str:
    """Return the metrics of a sample that the experiment draws, with their units, on one line."""
    shown = []
    for plot in experiment.plots:
        for metric, added in plot.lines or ((plot.metric, ""),):
            if metric in sample.metrics:
                label = added or plot.label
                shown.append(f"{label} {number(sample.metrics[metric])} {plot.unit}".rstrip())
    return ", ".join(dict.fromkeys(shown)) or sample.note or "nothing measured"


def named(arm: str, place: float, experiment: Experiment) -> str:
    """Return what a cell is, for people: the arm, and where it is on the axis."""
    return f"{arm}, {number(place)} {experiment.axis.unit or experiment.axis.label}"


class Lines:
    """A line for each sample, for logs and pipes."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._step: Step | None = None

    def begins(self, experiment: Experiment, plan: Plan, deadline: float) -> None:
        """Write what the experiment is."""
        self._experiment = experiment
        self._write(f"{experiment.name}: {experiment.claim}\n")
        for note in plan.notes:
            self._write(f"  note: {note}\n")

    def measures(self, step: Step) -> None:
        """Keep which measurement it is, for its line."""
        self._step = step

    def sampled(self, sample: Sample) -> None:
        """Write what was measured."""
        at = f"{self._step.number}/{self._step.steps} " if self._step else ""
        cell = named(sample.arm, sample.place, self._experiment)
        again = " (again)" if sample.twin else ""
        self._write(f"  {at}round {sample.round + 1}: {cell}{again}: {figures(sample, self._experiment)}\n")

    def ends(self, record: Record) -> None:
        """Write the verdict."""
        if record.verdict:
            self._write(f"{record.about.name}: {record.verdict.outcome.value}: {record.verdict.sentence}\n")


class Screen:
    """A view that is drawn anew several times a second, by a thread of rich's."""

    def __init__(self, console: Console, live: Live, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._live, self._clock = console, live, clock
        self._latest: deque[tuple[str, str]] = deque(maxlen=LATEST)
        self._experiment: Experiment | None = None
        self._pace = Pace(0.0, 0.0)

    def begins(self, experiment: Experiment, plan: Plan, deadline: float) -> None:
        """Show the claim above the view, where it stays."""
        self._experiment, self._pace = experiment, Pace(self._clock(), deadline)
        self._latest.clear()
        self._console.print(Text(experiment.title, style="bold"))
        self._console.print(Text(experiment.claim, style="italic"))
        for note in plan.notes:
            self._console.print(Text(f"note: {note}", style="yellow"))

    def measures(self, step: Step) -> None:
        """Show which measurement it is."""
        self._pace.step = step

    def sampled(self, sample: Sample) -> None:
        """Add what was measured to the latest figures."""
        assert self._experiment is not None, "an experiment has begun"
        cell = named(sample.arm, sample.place, self._experiment)
        self._latest.append((f"{cell}{' (again)' if sample.twin else ''}", figures(sample, self._experiment)))

    def ends(self, record: Record) -> None:
        """Show the verdict above the view, where it stays."""
        self._experiment = None
        if record.verdict:
            style = STYLES[record.verdict.outcome]
            self._console.print(
                Text.assemble((record.verdict.outcome.value, f"bold {style}"), ": ", record.verdict.sentence)
            )
            self._console.print()

    def __rich__(self) -> Group:
        """Return the view as it is now."""
        step = self._pace.step
        if self._experiment is None or step is None:
            return Group(Text("preparing", style="dim"))
        left_s = self._pace.left_s(self._clock())
        left = "" if left_s is None else f", about {duration(left_s)} left"
        head = Text.assemble(
            f"{step.number} of {step.steps}, round {step.round + 1}: ",
            (named(step.cell.arm, step.cell.place, self._experiment), "bold"),
            left,
        )
        bar = ProgressBar(total=step.steps, completed=step.number - 1, width=BAR_WIDTH)
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for cell, text in self._latest:
            table.add_row(Text(cell, style="cyan", no_wrap=True), Text(text))
        line = Table.grid(padding=(0, 1))
        line.add_row(bar, head)
        return Group(line, table)


@contextmanager
def shown(stream: TextIO) -> Iterator[Progress]:
    """Show a run on a stream: live if it is a terminal that can, in lines if not."""
    console = Console(file=stream, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:

        def write(text: str) -> None:
            stream.write(text)
            stream.flush()

        yield Lines(write)
        return
    with Live(console=console, refresh_per_second=REFRESHES_PER_S, transient=True) as live:
        screen = Screen(console, live)
        live.update(screen)
        yield screen
