"""What a run will do, before it does it: the rounds, their order, and about how long they take. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import goodput
from bench.cells import Cell
from bench.measure import WARM_UP_S
from bench.servers import Arm
from bench.workloads import Kind, Workload

SHORT_ROUNDS = 3
"""Rounds of idle connections: memory hardly varies, and a herd takes long to open."""
GOODPUT_ROUNDS = 1
"""Rounds of goodput: its figures are shares of some hundred requests at each load, and it has seven workloads."""
CELL_S = 0.9
"""About how long a cell takes besides its loads: starting, checking and stopping the server."""
IDLE_CELL_S = 7.0


@dataclass(frozen=True, slots=True)
class Step:
    """One cell to be measured."""

    workload: Workload
    number: int
    arm: Arm


@dataclass(frozen=True, slots=True)
class Plan:
    """The cells of a run, in the order they are measured."""

    workloads: tuple[Workload, ...]
    arms: tuple[Arm, ...]
    rounds: int
    seconds: int

    def steps(self) -> Iterator[Step]:
        """Every cell: workload by workload, round by round, each round in an order of its own."""
        for workload in self.workloads:
            arms = [arm for arm in self.arms if arm.takes(workload)]
            for number in range(self._rounds_of(workload)):
                for arm in rotated(arms, number):
                    yield Step(workload, number, arm)

    def skipped(self) -> Iterator[Cell]:
        """A cell without figures, which says why, for every row that does not take a workload."""
        for workload in self.workloads:
            for arm in self.arms:
                if not arm.takes(workload):
                    yield Cell(arm.name, workload.name, 0, skipped=arm.skips[workload.name])

    def estimate_s(self) -> float:
        """About how long the run takes, with every server able to run."""
        return sum(self._cell_s(step.workload) for step in self.steps())

    def _rounds_of(self, workload: Workload) -> int:
        most = {Kind.IDLE: SHORT_ROUNDS, Kind.GOODPUT: GOODPUT_ROUNDS}
        return min(self.rounds, most.get(workload.kind, self.rounds))

    def _cell_s(self, workload: Workload) -> float:
        if workload.kind is Kind.IDLE:
            return IDLE_CELL_S
        if workload.kind is Kind.GOODPUT:
            return CELL_S + goodput.lasts_s(self.seconds)
        return CELL_S + WARM_UP_S + (0 if workload.kind in (Kind.START, Kind.PRELOAD) else self.seconds)


def rotated(arms: Sequence[Arm], number: int) -> list[Arm]:
    """The arms in the order of one round: each comes first in turn, so that none is always first or last."""
    at = number % len(arms) if arms else 0
    return [*arms[at:], *arms[:at]]
