"""Which of the measured settings is recommended, what it gains, and why: as figures, a sentence, and a file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from halfsync.lab.judging import number, said
from halfsync.lab.samples import Figure
from halfsync.lab.tune.candidates import DEFAULT, Candidate, Capacity
from halfsync.lab.tune.halving import TIED


@dataclass(frozen=True, slots=True)
class Finalist:
    """Settings that were measured several times: answers in time per second, and the 99th percentile of answers."""

    candidate: Candidate
    goodput: Figure
    p99_s: Figure


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The settings to take, beside the default, and what both were measured with, as all `finalists` were."""

    finalists: tuple[Finalist, ...]
    best: Finalist
    default: Finalist
    capacity: Capacity
    rate: float
    patience_s: float

    @property
    def gain(self) -> Figure:
        """How many times as much as the default the recommended settings answer in time."""
        return self.best.goodput.over(self.default.goodput)

    @property
    def is_default(self) -> bool:
        """Whether the default is as good as any."""
        return self.best.candidate == DEFAULT


def choose(
    finalists: Sequence[Finalist], capacity: Capacity, rate: float, patience_s: float
) -> Recommendation:
    """Return the finalist to take: of those tied with the best, the first by preference.

    The default is taken if it is among these: settings that gain nothing are not worth a file. It must be among the
    finalists, or ValueError is raised.
    """
    default = next((one for one in finalists if one.candidate == DEFAULT), None)
    if default is None:
        raise ValueError("the default was not measured")
    most = max(one.goodput.mid for one in finalists)
    tied = [one for one in finalists if one.goodput.mid >= (1 - TIED) * most]
    best = default if default in tied else min(tied, key=lambda one: one.candidate.preference)
    return Recommendation(tuple(finalists), best, default, capacity, rate, patience_s)


def why(recommendation: Recommendation) -> str:
    """Return what is recommended, what it gains, and the reason, as sentences."""
    return " ".join(
        [_gain(recommendation), _request(recommendation.capacity), _limit(recommendation.capacity)]
    )


def _gain(recommendation: Recommendation) -> str:
    best, default = recommendation.best, recommendation.default
    waits = _span(recommendation.patience_s)
    load = f"of {number(recommendation.rate)} requests per second, from clients that wait for {waits}"
    if recommendation.is_default:
        return (
            f"The default, {best.candidate}, is as good as anything that was tried: {load}, it answers "
            f"{said(best.goodput)} per second in time."
        )
    times = "" if not default.goodput.mid else f", {number(recommendation.gain.mid)} times as many"
    return (
        f"Take {best.candidate}: {load}, it answers {said(best.goodput)} per second in time, and the default, "
        f"{default.candidate}, {said(default.goodput)}{times}."
    )


def _request(capacity: Capacity) -> str:
    turn = capacity.turn
    at_most = "" if turn.is_measured else "at most "
    held = ", by a lock, or by the GIL held in a wait" if turn.is_locked else ""
    return (
        f"A request takes {_span(turn.wall_s)}: it computes for {_span(turn.cpu_s)}, waits for "
        f"{_span(turn.blocking_s)}, and for {at_most}{_span(turn.gil_s)} keeps other threads of its process from "
        f"going on{held}."
    )


def _limit(capacity: Capacity) -> str:
    """Return what one process and all processors can do."""
    processors, most = _counted(capacity.processors, "processor"), capacity.most
    if not capacity.turn.is_measured:
        return (
            f"No number of threads was too many for one process; {processors} have time for {number(most)} per "
            "second."
        )
    busy = _counted(max(1, round(capacity.busy_threads(1))), "thread")
    process = min(1 / capacity.turn.gil_s, most)
    return f"So one process can answer {number(process)} per second, with {busy} busy, and {processors} {number(most)}."


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _span(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    return f"{number(seconds)} s" if seconds >= 1 else f"{number(seconds * 1000)} ms"


def file(recommendation: Recommendation, target: str, paths: Sequence[str]) -> str:
    """Return the recommended settings as a file for `--config`, with the reasons as comments."""
    candidate = recommendation.best.candidate
    requested = " ".join(f"--path {path}" for path in dict.fromkeys(paths))
    lines = [f"# Written by `halfsync tune {target} {requested}`."]
    lines += [f"# {line}" for line in _wrapped(why(recommendation))]
    lines.append(f'model = "{candidate.model}"')
    if candidate.workers > 1:
        lines.append(f"workers = {candidate.workers}")
    lines += [f"threads = {candidate.threads}", f"queue_size = {candidate.queue_size}"]
    return "\n".join(lines) + "\n"


def _wrapped(text: str, width: int = 110) -> list[str]:
    """Return a text as lines. A line break in a path cannot end a comment: there is none in the text."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
