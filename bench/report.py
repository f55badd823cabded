"""The report: one Markdown text for the terminal and the file, and the raw cells as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from bench import bars, cells, curves, models
from bench.cells import Cell, Metric, Results, Spread, ratio
from bench.goodput import LOADS
from bench.workloads import Kind, Workload

METHOD = """\
Each server runs on one processor, as one process, except those that fork one for each connection. wrk runs
with one thread on another processor. Round r of a workload starts every server once, in an order that rotates
with r; each is checked, warmed up for a second, then measured. Figures are medians over the rounds, with the
lowest and the highest in brackets. halfsync is in every round twice: the difference between its two rows is
noise, and an equal difference between others means nothing.

CPU is the time of the kernel's process clocks (in nanoseconds) for all of a server's processes over the load,
including opening and closing the connections, divided by the completed requests that wrk has counted. It varies
less than requests per second, which also depend on the speed of wrk and on other programs. Latencies include
wrk's own time: at a fixed number of connections they mostly show the length of the queue. A row marked (!) had
failed answers or connections. The mixins have no keep-alive: each of their requests is a connection.

Goodput is measured in an open loop, once for each server: the load climbs from 0.5 to 3 times the capacity without
a pause, and falls to 0.5. Latencies count from the time at which a request was meant to be sent. Clients give up after
a second. The first third of a level does not count. Answers are counted by when they come, everything else by when
the request was due. bench/README.md says more.
"""


DISTURBED = 0.1
"""The share of its processor taken by others from which a row says so."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the report says about a run besides its cells."""

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    commands: dict[str, str]
    settings: dict[str, str]

    @property
    def stem(self) -> str:
        """The name of the run's files, without what follows the dot."""
        return self.date.replace(":", "").replace(" ", "T")


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of a table: its heading, how it is taken from a cell, and its format."""

    heading: str
    metric: Metric
    format: str
    spread: bool = False


COST = Column("CPU µs/request", cells.cpu_us, ".2f", True)
BYTE_COST = Column("CPU s/GB", cells.cpu_s_per_gb, ".3f", True)
COLUMNS = {
    Kind.LOAD: (
        COST,
        Column("requests/s", cells.rps, ",.0f", True),
        Column("p50 µs", cells.p50_us, ",.0f"),
        Column("p99 µs", cells.p99_us, ",.0f"),
        Column("RSS MB", cells.rss_mb, ".1f"),
    ),
    Kind.CLOSE: (
        COST,
        Column("connections/s", cells.rps, ",.0f", True),
        Column("p50 µs", cells.p50_us, ",.0f"),
        Column("p99 µs", cells.p99_us, ",.0f"),
        Column("RSS MB", cells.rss_mb, ".1f"),
    ),
    Kind.FILE: (
        BYTE_COST,
        Column("MB/s", cells.mb_per_s, ",.0f", True),
        Column("RSS MB", cells.rss_mb, ".1f"),
    ),
    Kind.STATIC: (
        COST,
        Column("requests/s", cells.rps, ",.0f", True),
        Column("MB/s", cells.mb_per_s, ",.0f"),
        Column("p99 µs", cells.p99_us, ",.0f"),
        Column("RSS MB", cells.rss_mb, ".1f"),
    ),
    Kind.IDLE: (
        Column("bytes/connection", cells.idle_bytes, ",.0f", True),
        Column("open then", cells.counted, ",.0f"),
        Column("held", cells.held, ",.0f"),
        Column("new request ms", cells.answer_ms, ".2f"),
        Column("slowest ms", cells.worst_ms, ".2f", True),
        Column("RSS MB", cells.rss_mb, ".1f"),
    ),
    Kind.START: (
        Column("start-up ms", cells.startup_ms, ".0f", True),
        Column("RSS MB", cells.rss_mb, ".1f", True),
        Column("PSS MB", cells.pss_mb, ".1f"),
    ),
    Kind.PRELOAD: (
        Column("PSS MB", cells.pss_mb, ".1f", True),
        Column("start-up ms", cells.startup_ms, ".0f"),
        Column("RSS MB", cells.rss_mb, ".1f"),
    ),
}
BASES = {
    Kind.LOAD: (COST, "floor"),
    Kind.CLOSE: (COST, "floor"),
    Kind.FILE: (BYTE_COST, "nginx"),
    Kind.STATIC: (COST, "nginx"),
}
"""The column that a workload's servers are also given as a ratio of, and the row it is a ratio to."""


def markdown_table(headings: list[str], rows: list[list[str]], *, remarks: bool = True) -> str:
    """A Markdown table, padded so that it reads as well in a terminal. remarks: the last column holds text."""
    table = [headings, *rows]
    widths = [max(len(row[at]) for row in table) for at in range(len(headings))]
    # Some columns hold text, the others figures.
    words = {0, len(headings) - 1} if remarks else {0}

    def line(row: Iterable[str]) -> str:
        padded = (
            text.ljust(width) if at in words else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if at in words else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    return "\n".join([line(headings), line(rule), *map(line, rows)])


def figure(spread: Spread | None, column: Column) -> str:
    """A figure as its cell shows it: 7.10 [6.95-7.40]."""
    if spread is None:
        return "-"
    mid, low, high = (format(value, column.format) for value in (spread.mid, spread.low, spread.high))
    return f"{mid} [{low}-{high}]" if column.spread and low != high else mid


def notes(results: Results, workload: str, server: str) -> str:
    """What a reader must know about a row: failures, errors, a herd that was cut short."""
    bad_status, sockets = results.errors(workload, server)
    stops = {cell.idle.stopped for cell in results.of(workload, server) if cell.idle and cell.idle.stopped}
    parts = [*results.failures(workload, server), *sorted(stops)]
    if failed := curves.failed(results, workload, server):
        parts.append(f"{failed:,} requests failed: without an answer, or with another than 200 and 503")
    if bad_status:
        parts.append(f"{bad_status:,} answers not 2xx")
    if sockets:
        parts.append(f"{sockets:,} socket errors")
    foreign = max((cell.foreign or 0 for cell in results.of(workload, server)), default=0)
    if foreign > DISTURBED:
        parts.append(f"{foreign:.0%} of the processor used by other programs")
    return "; ".join(parts)


def workload_table(results: Results, workload: Workload) -> str:
    """One workload's servers, the cheapest first, those without figures last."""
    columns = COLUMNS[workload.kind]
    servers = list(dict.fromkeys(cell.server for cell in measured(results, workload)))
    first = {server: results.mid(columns[0].metric, workload.name, server) for server in servers}
    servers.sort(key=lambda server: (first[server] is None, first[server] or 0.0))
    base = BASES.get(workload.kind)
    rows = []
    for server in servers:
        marked = server + (" (!)" if any(results.errors(workload.name, server)) else "")
        row = [marked, *(figure(results.spread(c.metric, workload.name, server), c) for c in columns)]
        if base:
            share = ratio(first[server], results.mid(base[0].metric, workload.name, base[1]))
            row.insert(2, f"{share:.2f}" if share else "-")
        rows.append([*row, notes(results, workload.name, server)])
    headings = ["server", *(column.heading for column in columns)]
    if base:
        headings.insert(2, f"x {base[1]}")
    return markdown_table([*headings, "notes"], rows)


def goodput_tables(results: Results, workload: Workload) -> str:
    """One goodput workload: a table for each figure, the servers with most answers at the highest load first."""
    servers = list(dict.fromkeys(cell.server for cell in measured(results, workload)))
    highest = cells.at_load(curves.IN_TIME.figure, LOADS[-1])
    servers.sort(key=lambda server: -(results.mid(highest, workload.name, server) or 0.0))
    parts = [curves.capacity(results, workload, servers)]
    for curve in curves.CURVES:
        if rows := curves.rows(results, workload, servers, curve):
            parts += [f"{curve.title}:", markdown_table(curves.headings(curve), rows, remarks=False)]
    said = {server: notes(results, workload.name, server) for server in servers}
    parts.append(_list({server: text for server, text in said.items() if text}))
    return "\n\n".join(part for part in parts if part)


def measured(results: Results, workload: Workload) -> list[Cell]:
    """The cells of a workload that were meant to have figures."""
    return [cell for cell in results.cells if cell.workload == workload.name and not cell.skipped]


def skips(results: Results, workload: Workload) -> str:
    """The rows that were not meant to be in a workload's table, by reason."""
    rows: dict[str, list[str]] = {}
    for cell in results.cells:
        if cell.workload == workload.name and cell.skipped:
            rows.setdefault(cell.skipped, []).append(cell.server)
    parts = (f"{', '.join(servers)} ({reason})" for reason, servers in rows.items())
    return f"Not in this table: {'; '.join(parts)}." if rows else ""


def quality(results: Results) -> str:
    """How far the run can be trusted: the two CPU counts against each other, the processor's other users."""
    long = [cell for cell in results.cells if cell.cpu is not None and cell.cpu.clock_s >= 1]
    foreign = Spread.of(cell.foreign for cell in results.cells if cell.foreign is not None)
    lines = []
    if long:
        gap = max(abs(cell.cpu.ticks_s / cell.cpu.clock_s - 1) for cell in long if cell.cpu)
        lines.append(
            f"- CPU clocks and tick counters differ by at most {gap:.1%} in cells of a second or more."
        )
    if foreign:
        lines.append(
            f"- Other programs used {foreign.mid:.0%} of the servers' processor, {foreign.high:.0%} at most."
        )
    late = Spread.of(cell.goodput.generator_late_ms for cell in results.cells if cell.goodput)
    if late:
        lines.append(
            f"- Open loop: p99 of how late a request was sent: {late.mid:.1f} ms, {late.high:.1f} ms at most."
        )
    for name in dict.fromkeys(cell.workload for cell in results.cells):
        pair = [results.mid(cells.cpu_us, name, server) for server in bars.OURS]
        if share := ratio(pair[-1], pair[0]):
            lines.append(f"- {name}: the second halfsync row cost {share:.2f} x the first.")
    return "\n".join(lines)


def _list(items: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in items.items())


def render(run: Run, workloads: Iterable[Workload], results: Results) -> str:
    """The whole report."""
    parts = [f"# halfsync and its peers, {run.date}", "## Bars"]
    parts.append(markdown_table(["target", "measured", "verdict"], bars.table(results)))
    if reservations := bars.reservations(results):
        parts.append(reservations)
    if rows := models.table(results):
        headings = ["halfsync", *models.MODELS]
        parts += ["## The models compared", markdown_table(headings, rows, remarks=False)]
    if any(cell.goodput for cell in results.cells):
        parts += ["## Goodput", f"![Answers in time against the load]({run.stem}.svg)"]
    for workload in workloads:
        if measured(results, workload):
            table = goodput_tables if workload.kind is Kind.GOODPUT else workload_table
            parts += [f"## {workload.name}: {workload.title}", table(results, workload)]
            if text := skips(results, workload):
                parts.append(text)
    parts += [
        "## Method",
        METHOD.strip(),
        "## Quality of this run",
        quality(results) or "- nothing to compare",
    ]
    parts += ["## Machine", _list(run.machine), "## Run", _list(run.settings)]
    commands = {name: f"`{command}`" for name, command in run.commands.items()}
    parts += ["## Versions", _list(run.versions), "## Commands", _list(commands)]
    return "\n\n".join(parts) + "\n"


def to_json(run: Run, results: Results) -> str:
    """The run and its raw cells."""
    return (
        json.dumps({"run": asdict(run), "cells": [asdict(cell) for cell in results.cells]}, indent=1) + "\n"
    )
