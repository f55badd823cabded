"""The four models of halfsync compared: one table of the figures in which they differ."""

from __future__ import annotations

from dataclasses import dataclass

from bench import bars, cells
from bench.cells import Metric, Results

MODELS = {
    "process": ("halfsync-process",),
    "thread": ("halfsync-thread",),
    "pool": ("halfsync-pool",),
    "proactor": bars.OURS,
}
"""The rows of each model. The two of the proactor count together."""


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of each model: what it is called, where it is from, and its format."""

    title: str
    metric: Metric
    workload: str
    format: str


LINES = (
    *(
        Line(f"{name}: CPU µs/request", cells.cpu_us, name, ".1f")
        for name in ("hello-1", "hello-64", "hello-1000", "page", "post", "close")
    ),
    Line("close: connections/s", cells.rps, "close", ",.0f"),
    Line("idle: bytes/connection", cells.idle_bytes, "idle", ",.0f"),
    Line("idle: connections open then", cells.counted, "idle", ",.0f"),
    Line("start: start-up ms", cells.startup_ms, "start", ".0f"),
)


def table(results: Results) -> list[list[str]]:
    """The lines for which some model has a figure; medians over the rounds."""
    rows = []
    for line in LINES:
        mids = [results.mid(line.metric, line.workload, *servers) for servers in MODELS.values()]
        if any(mid is not None for mid in mids):
            rows.append([line.title, *("-" if mid is None else format(mid, line.format) for mid in mids)])
    return rows
