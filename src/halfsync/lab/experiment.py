"""What an experiment is: a claim, the measurements that test it, and the verdict. Records, without I/O.

An experiment says which cells it wants: an arm at a place. `running` measures them, interleaved, round after round, and
gives the samples to the experiment's `judge`, which is pure: from the same samples comes the same verdict.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from halfsync.lab.errors import MeasureError

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Samples

__all__ = [
    "Axis",
    "Cell",
    "Experiment",
    "MeasureError",
    "Measured",
    "Outcome",
    "Plan",
    "Plot",
    "Published",
    "Verdict",
]


class Outcome(Enum):
    """What the figures say of a claim."""

    HOLDS = "holds"
    WITHIN_A_LIMIT = "holds within a limit"
    NOT_SEEN = "not seen here"
    NOT_MEASURED = "not measured"
    """Too little was measured to say anything: the run was cut off, or a limit of the machine was in the way."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome, and one sentence with the figures and their spread that it rests on."""

    outcome: Outcome
    sentence: str


@dataclass(frozen=True, slots=True)
class Published:
    """A figure that others found: what it is, as text with its unit, and where it was published."""

    figure: str
    source: str


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured in one go: an arm at a place of the variable that is swept."""

    arm: str
    place: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one measurement of a cell found. See `samples.Sample`."""

    metrics: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """A metric of each arm over the places.

    `unit` and `place_unit` stand beside the axes; "" for a plain number. `lines` are the metrics, if there are several
    for one arm: metric, and what the legend adds to the arm.
    """

    title: str
    metric: str
    label: str
    unit: str
    log: bool = False
    lines: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """The variable that an experiment sweeps."""

    label: str
    unit: str = ""
    log: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: the cells of a round, how many rounds, and for how long each cell is loaded.

    `reference` is measured twice in each round, and `primary` is the metric whose noise floor is reported. No command
    line makes `duration_s` less than `least_s`. `notes` say what the machine's limits took away. `found` is what the
    plan has found out about this machine, by name, and each measurement uses: a rate that all arms can serve, for
    example.
    """

    cells: tuple[Cell, ...]
    reference: Cell
    primary: str
    rounds: int = 3
    duration_s: float = 2.0
    least_s: float = 0.0
    notes: tuple[str, ...] = ()
    found: Mapping[str, float] = field(default_factory=dict)


class Experiment(ABC):
    """One claim, and how it is tested. There is one object of each class, in `experiments.ALL`."""

    name: ClassVar[str]
    title: ClassVar[str]
    claim: ClassVar[str]
    said_by: ClassVar[str]
    method: ClassVar[str]
    axis: ClassVar[Axis]
    plots: ClassVar[tuple[Plot, ...]]
    published: ClassVar[tuple[Published, ...]] = ()

    @abstractmethod
    def plan(self, laboratory: Laboratory) -> Plan:
        """Return what is to be measured on this machine, within its limits."""

    @abstractmethod
    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Measure one cell. Raises MeasureError if there is nothing to report."""

    @abstractmethod
    def judge(self, samples: Samples) -> Verdict:
        """Return what the samples say of the claim. Pure: the same samples, the same verdict."""
