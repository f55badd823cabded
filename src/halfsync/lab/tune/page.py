"""The page that explains a recommendation: the settings, the reasons, and what was measured. One file, as a report."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from halfsync.lab.experiment import Axis, Plot
from halfsync.lab.judging import number, said
from halfsync.lab.plots import Series, series_of
from halfsync.lab.report import facts, heading, picture, whole_page, words
from halfsync.lab.samples import Sample, Samples
from halfsync.lab.tune.candidates import SERIES, Candidate
from halfsync.lab.tune.choosing import Finalist, Recommendation, why
from halfsync.lab.tune.scalability import fit
from halfsync.lab.tune.tuning import Tuned

THREADS = Axis("threads in each process", log=True)
ONE = Plot("One process, by its threads", "rate", "answers per second", "1/s")
ALL = Plot("Settings that were tried", "rate", "answers per second", "1/s")
MEASURED, LAW = "measured", "universal scalability law"
METHOD = (
    "First one process answered a client that was alone: what a turn of the application takes is what the server "
    "counts, and what it computes is what the kernel counts for its process. Then one process had more and more "
    "threads, and twice as many clients, each of which asks again once it is answered (a closed loop): how throughput "
    "grows says for how long a request keeps other threads from going on. From this, by Little's law and the universal "
    "scalability law, follow the settings that may be good. They were measured in the same way, the better half for "
    "longer each time. The best and the default were then compared under one load in an open loop, more than they can "
    "serve, from clients that leave if they are not answered in time. Server and load generator shared all processors."
)


def page(
    tuned: Tuned, settings: str, command: Sequence[str], about: Mapping[str, Any], notes: Sequence[str]
) -> str:
    """Return the page. settings: the recommended file; about: `started`, `machine` and `version`, as in results."""
    title = " ".join(command[:3])
    head = heading(title, about["started"], about["machine"], about["version"])
    return whole_page(
        title, head, [_recommended(tuned, settings), _measured(tuned, notes), _how(command, about)]
    )


def samples(tuned: Tuned) -> tuple[Samples, Samples]:
    """Return what one process and what all settings that were tried can answer, by their threads, for a plot each."""
    points = [(point.threads, point.rate) for point in tuned.curve]
    law = fit(points)
    most = max(threads for threads, _ in points)
    one = [Sample(MEASURED, threads, 0, {"rate": rate}) for threads, rate in points]
    one += [Sample(LAW, threads, 0, {"rate": law.rate(threads)}) for threads in SERIES if threads <= most]
    tried = [
        Sample(_arm(trial.arm), trial.arm.threads, trial.round, {"rate": trial.score})
        for trial in tuned.trials
        if trial.score is not None
    ]
    return Samples(tuple(one)), Samples(tuple(tried))


def _arm(candidate: Candidate) -> str:
    return f"{candidate.model}, {candidate.workers} process{'es' * (candidate.workers > 1)}"


def _recommended(tuned: Tuned, settings: str) -> str:
    found = tuned.recommendation
    return (
        f'<section><h2>Recommended</h2><p class="verdict">{escape(why(found))}</p><pre>{escape(settings)}</pre>'
        f"<h3>Under one load</h3>{_finalists(found)}</section>"
    )


def _finalists(found: Recommendation) -> str:
    """Return what the settings did that were compared at the end."""
    head = "<tr><th>settings</th><th>in time per second</th><th>99th percentile</th></tr>"
    rows = "".join(
        _finalist(each, found) for each in sorted(found.finalists, key=lambda one: -one.goodput.mid)
    )
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _finalist(finalist: Finalist, found: Recommendation) -> str:
    roles = [
        role
        for role, one in (("recommended", found.best), ("the default", found.default))
        if one.candidate == finalist.candidate
    ]
    name = f"{finalist.candidate} ({', '.join(roles)})" if roles else str(finalist.candidate)
    cells = (escape(name), said(finalist.goodput), said(finalist.p99_s, "ms", 1000))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _measured(tuned: Tuned, notes: Sequence[str]) -> str:
    turn = tuned.recommendation.capacity.turn
    law = tuned.recommendation.capacity.law
    at_most = "" if turn.is_measured else "at most "
    rows = [
        ("a request takes", f"{number(turn.wall_s * 1000)} ms"),
        ("it computes for", f"{number(turn.cpu_s * 1000)} ms"),
        ("it waits for", f"{number(turn.blocking_s * 1000)} ms"),
        (
            "it keeps other threads of its process from going on for",
            f"{at_most}{number(turn.gil_s * 1000)} ms",
        ),
        ("contention, coherency", f"{number(law.contention)}, {number(law.coherency)}"),
    ]
    pictures = [
        picture(plot, THREADS, _series(plot, found), f"tune-{at}")
        for at, (plot, found) in enumerate(zip((ONE, ALL), samples(tuned), strict=True))
    ]
    remarks = "".join(f"<li>{escape(note)}</li>" for note in notes)
    limits = f"<h3>Limits of this run</h3><ul>{remarks}</ul>" if remarks else ""
    plots = "\n".join(pictures)
    return f'<section><h2>The application</h2>{words(rows)}<div class="plots">{plots}</div>{limits}</section>'


def _series(plot: Plot, found: Samples) -> list[Series]:
    return series_of(plot, found, found.arms())


def _how(command: Sequence[str], about: Mapping[str, Any]) -> str:
    return (
        f"<section><h2>How it was measured</h2><p>{escape(METHOD)}</p><h3>Where</h3>{words(facts(about['machine']))}"
        f"<h3>Command</h3><pre>{escape(shlex.join(command))}</pre></section>"
    )
