"""The section of the report on one goodput workload: a table for each figure, with a column for each load."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import cells
from bench.cells import Cell, Results
from bench.goodput import LOADS, Level
from bench.workloads import Workload


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure at each load: its title, how it is taken from a level, and its format."""

    title: str
    figure: Callable[[Level], float | None]
    format: str


IN_TIME = Curve("Answers in time per second", lambda level: level.in_time, ".0f")
REFUSED = Curve("Refused (503), share of what was sent", lambda level: level.refused, ".1%")
ACCEPTED_P99 = Curve(
    "p99 of what was accepted, ms (one that its client gave up counts as long as clients wait)",
    lambda level: level.accepted_p99_ms,
    ",.0f",
)
ALL_P99 = Curve("p99 of all, refusals among them, ms", lambda level: level.all_p99_ms, ",.0f")
CURVES = (IN_TIME, REFUSED, ACCEPTED_P99, ALL_P99)
FALL = "recovery s"


def headings(curve: Curve) -> list[str]:
    """The heading of each column; the first table has the recovery too."""
    return ["server", *(f"{load:g} x" for load in LOADS), *([FALL] if curve is IN_TIME else [])]


def rows(results: Results, workload: Workload, servers: Sequence[str], curve: Curve) -> list[list[str]]:
    """A row for each server that has figures: the medians of its rounds."""
    found = []
    for server in servers:
        mids = [results.mid(cells.at_load(curve.figure, load), workload.name, server) for load in LOADS]
        if any(mid is not None for mid in mids):
            texts = ["-" if mid is None else format(mid, curve.format) for mid in mids]
            fall = [recovery(results, workload.name, server)] if curve is IN_TIME else []
            found.append([server, *texts, *fall])
    return found


def recovery(results: Results, workload: str, server: str) -> str:
    """The time to recover in words: more than was watched if the server had not."""
    mid = results.mid(cells.recovery_s, workload, server)
    if mid is None:
        return "-"
    watched = results.mid(_watched_s, workload, server)
    return f"> {watched:.1f}" if math.isinf(mid) else f"{mid:.2f}"


def failed(results: Results, workload: str, server: str) -> int:
    """How many of a server's requests failed, at all loads."""
    curves = (cell.goodput for cell in results.of(workload, server) if cell.goodput)
    return sum(level.failed for curve in curves for level in curve.levels)


def capacity(results: Results, workload: Workload, servers: Sequence[str]) -> str:
    """The sentence on the capacity, which is one for all servers."""
    per_s = results.mid(cells.capacity, workload.name, *servers)
    if per_s is None:
        return ""
    assert workload.demand is not None
    how = "a closed loop on halfsync" if workload.demand.measured else "the threads' time"
    return f"The capacity is {per_s:,.0f} requests per second, by {how}."


def _watched_s(cell: Cell) -> float | None:
    return cell.goodput.watched_s if cell.goodput else None
