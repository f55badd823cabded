"""report.html: a run for people to read. One file that needs no script, no network and no other file.

It is made of `results` alone, so that a report can be made again from results.json.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from halfsync.lab.experiment import Axis, Outcome, Plot
from halfsync.lab.judging import number
from halfsync.lab.palette import variables
from halfsync.lab.plots import Series, draw, series_of
from halfsync.lab.results import Record, Results
from halfsync.lab.samples import Figure
from halfsync.lab.wording import duration, labelled, share

STYLE = Path(__file__).with_name("report.css")
CLASSES = {
    Outcome.HOLDS: "holds",
    Outcome.WITHIN_A_LIMIT: "limit",
    Outcome.NOT_SEEN: "unseen",
    Outcome.NOT_MEASURED: "unmeasured",
}
MARKS = {
    Outcome.HOLDS: "\N{HEAVY CHECK MARK}",
    Outcome.WITHIN_A_LIMIT: "\N{CIRCLE WITH LEFT HALF BLACK}",
    Outcome.NOT_SEEN: "\N{MULTIPLICATION X}",
    Outcome.NOT_MEASURED: "\N{WHITE CIRCLE}",
}
NOTES_SEEN = 5
UNNAMED = ("halfsync", "cpus")
"""Facts that stand elsewhere in the page."""
NAMES = {
    "model": "processor",
    "processors": "processors that were used",
    "memory_bytes": "memory",
    "kernel": "Linux",
    "python": "Python",
    "descriptors_soft": "open files, soft limit",
    "descriptors_hard": "open files, hard limit",
    "processes": "processes of the user",
    "pid_max": "processes and threads of the system (pid_max)",
    "threads_max": "threads of the system (threads-max)",
    "cgroup_pids": "processes and threads of the control group",
    "limits.memory_bytes": "memory that was available",
    "cgroup_memory_bytes": "memory of the control group",
    "ports": "local ports",
    "backlog": "connections in a backlog (somaxconn)",
}
METHOD = (
    "Each server is a program of its own, started by <code>halfsync serve</code> and loaded over loopback by a native "
    "load generator, which has a processor of its own if there are two. Rounds are repeated, and each goes through all "
    "measurements in an order of its own, so that a machine that becomes slower does so for all that is compared. A "
    "figure is the median of the rounds, with the lowest and the highest as its spread: the band around a line, or the "
    "line over a bar. In each round one measurement is made twice; the largest difference of the two is the noise "
    "floor, below which a difference says nothing. Latencies of an open loop count from the time at which a request "
    "was meant to be sent, so that a stall is seen by all requests that it delays."
)


def report(results: Results) -> str:
    """Return the page."""
    title = _title(results)
    sections = [_section(record) for record in results.records]
    return whole_page(title, _head(results, title), [_verdicts(results.records), *sections, _how(results)])


def whole_page(title: str, head: Sequence[str], sections: Sequence[str]) -> str:
    """Return a page of this look, as one file. head: the lines of its header; sections: those of its main part."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{variables()}{STYLE.read_text(encoding='utf-8')}</style>",
            "</head>",
            "<body>",
            *head,
            "<main>",
            *sections,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _title(results: Results) -> str:
    return f"halfsync compare {results.application or ''}".strip()


def _head(results: Results, title: str) -> list[str]:
    lines = heading(title, results.started, results.machine, results.versions.get("halfsync", ""))
    if not results.whole:
        lines.append(
            '<p class="partial"><strong>Partial:</strong> this run was interrupted. '
            "What it had measured until then is here.</p>"
        )
    return lines


def heading(title: str, started: str, machine: Mapping[str, Any], version: str) -> list[str]:
    """Return the lines of a header: what, when and where. started: in ISO 8601."""
    parts = [
        f"halfsync {version}",
        started.replace("T", " ")[:16],
        str(machine.get("model", "")),
        f"{machine['processors']} processors" if machine.get("processors") else "",
        str(machine.get("python", "")),
    ]
    lead = " \N{MIDDLE DOT} ".join(part for part in parts if part)
    return ["<header>", f"<h1>{escape(title)}</h1>", f'<p class="lead">{escape(lead)}</p>', "</header>"]


def _verdicts(records: Sequence[Record]) -> str:
    if len(records) == 1:
        return ""
    items = [
        f'<li><a href="#{_anchor(record)}">{escape(record.about.title)}</a> {_outcome(record)}'
        f"<p>{_prose(_sentence(record))}</p></li>"
        for record in records
    ]
    return f'<section><h2>Verdicts</h2><ol class="verdicts">{"".join(items)}</ol></section>'


def _section(record: Record) -> str:
    about = record.about
    parts = [
        f'<section id="{_anchor(record)}">',
        f"<h2>{escape(about.title)}</h2>",
        f"<blockquote>{_prose(about.claim)}<footer>{_prose(about.said_by)}</footer></blockquote>",
        f'<p class="verdict">{_outcome(record)} {_prose(_sentence(record))}</p>',
        f'<p class="small">{escape(_effort(record))}</p>',
        _plots(record),
        _published(record),
        f"<h3>Method</h3><p>{_prose(about.method)}</p>",
        _notes(record.notes()),
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _outcome(record: Record) -> str:
    outcome = record.verdict.outcome if record.verdict else Outcome.NOT_MEASURED
    return f'<span class="outcome {CLASSES[outcome]}">{MARKS[outcome]} {escape(outcome.value)}</span>'


def _sentence(record: Record) -> str:
    return record.verdict.sentence if record.verdict else "The run was ended before this was measured."


def _prose(text: str) -> str:
    """Return a text as HTML; what stands in it between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _effort(record: Record) -> str:
    """Return how much was measured, and how far apart two equal measurements were."""
    rounds = len({sample.round for sample in record.samples})
    noise = record.noise()
    floor = "not known" if noise is None else share(noise)
    count = len(record.samples.samples)
    made = f"{count} measurements in {rounds} {'round' if rounds == 1 else 'rounds'}"
    state = "" if record.whole else " Partial: it was interrupted."
    limits = " What limits them is below." if record.notes() else ""
    return f"Noise floor: {floor}. {made}, {duration(record.took_s)}.{state}{limits}"


def _notes(notes: Sequence[str]) -> str:
    """Return the notes as a list, of which the first ones are seen at once."""
    if not notes:
        return ""
    items = [f"<li>{_prose(note)}</li>" for note in notes]
    first, rest = "".join(items[:NOTES_SEEN]), items[NOTES_SEEN:]
    more = f"<details><summary>{len(rest)} more</summary><ul>{''.join(rest)}</ul></details>" if rest else ""
    return f"<h3>Limits of this run</h3><ul>{first}</ul>{more}"


def _plots(record: Record) -> str:
    about = record.about
    figures = [
        picture(
            plot, about.axis, series_of(plot, record.samples, record.arms()), f"{_anchor(record)}-{number}"
        )
        for number, plot in enumerate(about.plots)
    ]
    shown = "\n".join(figure for figure in figures if figure)
    return f'<div class="plots">\n{shown}\n</div>' if shown else ""


def picture(plot: Plot, axis: Axis, series: Sequence[Series], name: str) -> str:
    """Return a plot with its figures, or "" if nothing of it was measured. name: as for `plots.draw`."""
    if not series:
        return ""
    drawn = draw(plot, axis, series, name)
    table = _table(series, axis, plot)
    return (
        f"<figure><h3>{escape(plot.title)}</h3>\n{drawn}\n"
        f"<details><summary>Figures</summary>{table}</details></figure>"
    )


def _table(series: Sequence[Series], axis: Axis, plot: Plot) -> str:
    """Return the figures of a plot: a row for each place, a column for each line."""
    by_name: dict[str, dict[float, Figure]] = {each.name: dict(each.curve) for each in series}
    places = sorted({place for curve in by_name.values() for place in curve})
    head = "".join(f"<th>{escape(name)}</th>" for name in by_name)
    rows = []
    for place in places:
        cells = "".join(f"<td>{_cell(curve.get(place))}</td>" for curve in by_name.values())
        rows.append(f"<tr><td>{number(place)}</td>{cells}</tr>")
    caption = f'<p class="small">{escape(labelled(plot.label, plot.unit))}; below it, the lowest and the highest</p>'
    first = escape(labelled(axis.label, axis.unit))
    return (
        f'<div class="scroll">{caption}<table><thead><tr><th>{first}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "\N{EN DASH}"
    if figure.count == 1:
        return number(figure.mid)
    return f"{number(figure.mid)}<small>{number(figure.low)} \N{EN DASH} {number(figure.high)}</small>"


def _published(record: Record) -> str:
    if not record.about.published:
        return ""
    rows = [(each.figure, each.source) for each in record.about.published]
    rows.append((_sentence(record), "here"))
    return f"<h3>What others found</h3>{words((source, figure) for figure, source in rows)}"


def _how(results: Results) -> str:
    rows = [*facts(results.machine), *results.versions.items()]
    return (
        f"<section><h2>How it was measured</h2><p>{METHOD}</p>"
        f"<h3>Where</h3>{words(rows)}"
        f"<h3>Command</h3><pre>{escape(shlex.join(results.command))}</pre>"
        '<p class="small">results.json, beside this page, has each measurement.</p></section>'
    )


def words(rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and texts; what stands in a text between backticks is code."""
    items = "".join(f"<tr><th>{escape(name)}</th><td>{_prose(value)}</td></tr>" for name, value in rows)
    return f'<table class="words"><tbody>{items}</tbody></table>'


def facts(machine: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Return what is known of the machine, as names and values for people. What has no name here keeps its own."""
    found: list[tuple[str, str]] = []
    for key, value in machine.items():
        if isinstance(value, Mapping):
            found += facts(value, f"{key}.")
        elif value not in (None, "", []) and key not in UNNAMED:
            found.append(
                (NAMES.get(f"{above}{key}") or NAMES.get(key) or key.replace("_", " "), _fact(key, value))
            )
    return found


def _fact(key: str, value: Any) -> str:
    if key.endswith("_bytes") and isinstance(value, int):
        return f"{value / (1 << 20):,.0f} MiB"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, set)):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _anchor(record: Record) -> str:
    return re.sub(r"[^a-z0-9]+", "-", record.about.name.lower()).strip("-")
