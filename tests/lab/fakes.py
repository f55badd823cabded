"""A laboratory without servers, and an experiment whose figures are made up, for what only carries out and presents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from halfsync.lab.experiment import (
    Axis,
    Cell,
    Experiment,
    Measured,
    MeasureError,
    Outcome,
    Plan,
    Plot,
    Published,
    Verdict,
)
from halfsync.lab.laboratory import Wanted
from halfsync.lab.samples import Samples

ARMS = ("pool", "proactor")
PLACES = (1.0, 10.0, 100.0)


class Clock:
    """A clock that goes on only when it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeLaboratory:
    """What `running` and `comparing` ask of a laboratory."""

    deadline: float = 1e9
    wanted: Wanted = field(default_factory=Wanted)


@dataclass
class Invented(Experiment):
    """Figures that follow from the cell alone: the pool costs 10 µs and a tenth of the clients, the proactor 9 µs."""

    before: Callable[[Cell], None] = lambda _cell: None
    measured: list[Cell] = field(default_factory=list)

    name = "invented"
    title = "Invented <figures>"
    claim = "the pool is dearer & slower"
    said_by = "a test"
    method = "Figures are made up."
    axis = Axis("clients", "", log=True)
    plots = (
        Plot("CPU for a request", "cpu_us", "CPU per request", "µs"),
        Plot("Latency", "p50_ms", "latency", "ms", log=True, lines=(("p50_ms", "p50"), ("p99_ms", "p99"))),
    )
    published = (Published("18 % faster", "Nobody et al., 2007"),)

    def plan(self, laboratory: Any) -> Plan:
        cells = tuple(Cell(arm, place) for place in PLACES for arm in ARMS)
        return Plan(cells, Cell("proactor", 10.0), "cpu_us", rounds=3, notes=("only 100 descriptors",))

    def measure(self, cell: Cell, plan: Plan, laboratory: Any) -> Measured:
        self.before(cell)
        self.measured.append(cell)
        cost = 9.0 if cell.arm == "proactor" else 10.0 + cell.place / 10
        cost += len(self.measured) / 100
        return Measured({"cpu_us": cost, "p50_ms": cost / 10, "p99_ms": cost})

    def judge(self, samples: Samples) -> Verdict:
        pool, proactor = (samples.figure(arm, 100.0, "cpu_us") for arm in ARMS)
        if pool is None or proactor is None:
            return Verdict(Outcome.NOT_MEASURED, "too little was measured")
        return Verdict(Outcome.HOLDS, f"the pool costs {pool.over(proactor).mid:.1f} times as much & more")


def fails_at(place: float) -> Callable[[Cell], None]:
    """Return what lets each measurement at a place fail."""

    def before(cell: Cell) -> None:
        if cell.place == place:
            raise MeasureError("no descriptors left")

    return before
