"""The targets of halfsync, each with the measured value. They report; they never fail a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench import cells
from bench.cells import Metric, Results, ratio
from bench.curves import ACCEPTED_P99, IN_TIME, REFUSED, Curve
from bench.goodput import LOADS
from bench.servers import ARMS, Role
from bench.workloads import WORKLOADS, Kind, Workload

OURS = tuple(arm.name for arm in ARMS if arm.role is Role.OURS)
MODELS = tuple(arm.name for arm in ARMS if arm.role is Role.MODEL)
PEERS = tuple(arm.name for arm in ARMS if arm.role is Role.PEER)
IDLE_HELD = 15_000
GOODPUT = tuple(workload for workload in WORKLOADS if workload.kind is Kind.GOODPUT)
ALIKE = tuple(workload for workload in GOODPUT if workload.demand and len(workload.demand.routes) == 1)
"""Without the mixes: in one, some requests take longer than the limit by themselves."""
MIXES = tuple(workload for workload in GOODPUT if workload not in ALIKE)
BEYOND = tuple(load for load in LOADS if load >= 1)


@dataclass(frozen=True, slots=True)
class Measured:
    """A bar's outcome: the figure in words, and whether it is cleared (None: it could not be measured)."""

    text: str
    cleared: bool | None


@dataclass(frozen=True, slots=True)
class Bar:
    """A target, and how its figure is taken from the results.

    If no model is named, it is about the proactor, whose two rows count together.
    """

    target: str
    outcome: Callable[[Results], Measured]


UNKNOWN = Measured("not measured", None)


def _times(value: float | None, base: float | None, limit: float, unit: str) -> Measured:
    """Compare two figures: `value` may be at most `limit` times `base`."""
    share = ratio(value, base)
    if share is None:
        return UNKNOWN
    return Measured(f"{share:.2f} x ({value:.3g} against {base:.3g} {unit})", share <= limit)


def beside(
    metric: Metric, workload: str, server: str, limit: float, unit: str, *, rows: tuple[str, ...] = OURS
) -> Callable[[Results], Measured]:
    """halfsync's rows beside one other server."""
    return lambda r: _times(r.mid(metric, workload, *rows), r.mid(metric, workload, server), limit, unit)


def as_many_connections(results: Results) -> Measured:
    """Connections per second of a process for each, halfsync's beside the standard library's."""
    ours, theirs = (results.mid(cells.rps, "close", row) for row in ("halfsync-process", "forking-mixin"))
    share = ratio(ours, theirs)
    if share is None:
        return UNKNOWN
    return Measured(f"{share:.2f} x ({ours:,.0f} against {theirs:,.0f} connections/s)", share >= 1)


def below(metric: Metric, workload: str, limit: float, unit: str) -> Callable[[Results], Measured]:
    """halfsync's own median against a fixed limit."""

    def outcome(results: Results) -> Measured:
        value = results.mid(metric, workload, *OURS)
        return UNKNOWN if value is None else Measured(f"{value:.4g} {unit}", value <= limit)

    return outcome


def growth(results: Results) -> Measured:
    """The cost of a request at 1,000 connections over that at 64."""
    many, few = (results.mid(cells.cpu_us, name, *OURS) for name in ("hello-1000", "hello-64"))
    return _times(many, few, 1.2, "µs")


def ahead_in_post(results: Results) -> Measured:
    """halfsync against whichever peer spends least on a POST."""
    mids = {peer: results.mid(cells.cpu_us, "post", peer) for peer in PEERS}
    known = {peer: mid for peer, mid in mids.items() if mid is not None}
    if not known:
        return UNKNOWN
    best = min(known, key=lambda peer: known[peer])
    measured = _times(results.mid(cells.cpu_us, "post", *OURS), known[best], 1.0, "µs")
    return (
        measured
        if measured is UNKNOWN
        else Measured(f"{measured.text}, against {best}, the nearest", measured.cleared)
    )


def shared_memory(results: Results) -> Measured:
    """What four processes that share a preloaded application take, over what one takes; gunicorn's beside it."""
    ours = [results.mid(cells.pss_mb, f"preload-{number}", "halfsync") for number in (4, 1)]
    theirs = [results.mid(cells.pss_mb, f"preload-{number}", "gunicorn") for number in (4, 1)]
    measured = _times(ours[0], ours[1], 1.3, "MB")
    beside_it = _times(theirs[0], theirs[1], 1.3, "MB")
    if measured is UNKNOWN or beside_it is UNKNOWN:
        return measured
    return Measured(f"{measured.text}; gunicorn {beside_it.text}", measured.cleared)


def answered_beside_idle(results: Results) -> Measured:
    """Whether 15,000 connections stay open while new ones are answered at once, in the worst round."""
    held = results.spread(cells.held, "idle", *OURS)
    worst = results.spread(cells.worst_ms, "idle", *OURS)
    if held is None or worst is None:
        return UNKNOWN
    text = f"{held.low:,.0f} held; slowest new request {worst.high:.2f} ms"
    return Measured(text, held.low >= IDLE_HELD and worst.high < 10)


@dataclass(frozen=True, slots=True)
class Found:
    """A figure of one workload, and at which load it was."""

    value: float
    workload: str
    load: float


def _found(
    results: Results, curve: Curve, loads: Iterable[float], workloads: Iterable[Workload], row: str
) -> list[Found]:
    """A figure of a row at some loads of some workloads: the medians, as far as they were measured."""
    found = []
    for workload in workloads:
        for load in loads:
            mid = results.mid(cells.at_load(curve.figure, load), workload.name, row)
            if mid is not None:
                found.append(Found(mid, workload.name, load))
    return found


def _worst(found: list[Found], limit: float, form: str, *, least: bool = False) -> Measured:
    """The worst of some figures, of which each may be at most `limit`, or with `least` must be at least that."""
    if not found:
        return UNKNOWN
    worst = (min if least else max)(found, key=lambda one: one.value)
    missed = dict.fromkeys(
        one.workload for one in found if (one.value < limit if least else one.value > limit)
    )
    text = f"{worst.value:{form}} in {worst.workload} at {worst.load:g} x"
    others = [name for name in missed if name != worst.workload]
    return Measured(f"{text}; missed in {', '.join(others)} too" if others else text, not missed)


def capacity_in_time(row: str) -> Callable[[Results], Measured]:
    """Answers in time from the capacity on, as a share of it."""

    def outcome(results: Results) -> Measured:
        shares = []
        for one in _found(results, IN_TIME, BEYOND, GOODPUT, row):
            share = ratio(one.value, results.mid(cells.capacity, one.workload, row))
            assert share is not None  # a cell with a figure at a load has a capacity
            shares.append(Found(share, one.workload, one.load))
        return _worst(shares, 0.95, ".1%", least=True)

    return outcome


def refused_below(row: str) -> Callable[[Results], Measured]:
    """What is refused although the threads could answer it."""
    return lambda results: _worst(_found(results, REFUSED, (0.9,), GOODPUT, row), 0.01, ".1%")


def accepted_in_time(row: str) -> Callable[[Results], Measured]:
    """The 99th percentile of what was not refused; that of the mixes is said, and does not count."""

    def outcome(results: Results) -> Measured:
        measured = _worst(_found(results, ACCEPTED_P99, LOADS, ALIKE, row), 250, ",.0f")
        mixes = _found(results, ACCEPTED_P99, LOADS, MIXES, row)
        if measured is UNKNOWN or not mixes:
            return measured
        return Measured(f"{measured.text} (ms; mix {max(one.value for one in mixes):,.0f})", measured.cleared)

    return outcome


def recovered(row: str) -> Callable[[Results], Measured]:
    """Recovery in the workload in which it takes longest."""

    def outcome(results: Results) -> Measured:
        mids = ((workload.name, results.mid(cells.recovery_s, workload.name, row)) for workload in GOODPUT)
        known = [(mid, name) for name, mid in mids if mid is not None]
        if not known:
            return UNKNOWN
        worst, name = max(known)
        return Measured(
            f"{'not while watched' if math.isinf(worst) else f'{worst:.2f} s'} in {name}", worst <= 1
        )

    return outcome


def goodput_bars(row: str, prefix: str = "") -> tuple[Bar, ...]:
    """The targets under overload, in every goodput workload."""
    return (
        Bar(f"{prefix}goodput: at least 95 % of the capacity in time from 1 x on", capacity_in_time(row)),
        Bar(f"{prefix}goodput: at most 1 % refused at 0.9 x", refused_below(row)),
        Bar(
            f"{prefix}goodput: p99 of what is accepted at most 250 ms, if turns are alike",
            accepted_in_time(row),
        ),
        Bar(f"{prefix}goodput: recovery within 1 s after the load falls", recovered(row)),
    )


BARS = (
    Bar(
        "hello-64: CPU per request at most 1.0 x fastwsgi's",
        beside(cells.cpu_us, "hello-64", "fastwsgi", 1.0, "µs"),
    ),
    Bar(
        "hello-64: CPU per request at most 1.5 x the floor's",
        beside(cells.cpu_us, "hello-64", "floor", 1.5, "µs"),
    ),
    Bar("hello-1000: CPU per request at most 1.2 x its own hello-64", growth),
    Bar(
        "idle connection: at most 1 KB (growth of PSS: the process's own memory, not the kernel's socket)",
        below(cells.idle_bytes, "idle", 1024, "bytes"),
    ),
    Bar("15,000 idle connections held, and a new request answered in less than 10 ms", answered_beside_idle),
    Bar(
        "100 MB file: CPU per byte at most nginx's", beside(cells.cpu_s_per_gb, "file", "nginx", 1.0, "s/GB")
    ),
    Bar(
        "static file of 1 KiB: CPU per request at most 1.5 x nginx's",
        beside(cells.cpu_us, "static-1k", "nginx", 1.5, "µs"),
    ),
    Bar(
        "static file of 1 MiB: CPU per request at most nginx's",
        beside(cells.cpu_us, "static-1m", "nginx", 1.0, "µs"),
    ),
    Bar("64 KiB POST: less CPU per request than every peer", ahead_in_post),
    Bar("preload, 200 MB: PSS of 4 processes after 10,000 requests at most 1.3 x that of 1", shared_memory),
    Bar("start-up to the first answer: at most 150 ms", below(cells.startup_ms, "start", 150, "ms")),
    Bar("resident memory after a hello load: less than 20 MB", below(cells.rss_mb, "start", 20, "MB")),
    Bar(
        "thread, hello-64: CPU per request at most 0.25 x gunicorn's",
        beside(cells.cpu_us, "hello-64", "gunicorn", 0.25, "µs", rows=("halfsync-thread",)),
    ),
    Bar(
        "pool, hello-64: CPU per request at most 0.25 x gunicorn's",
        beside(cells.cpu_us, "hello-64", "gunicorn", 0.25, "µs", rows=("halfsync-pool",)),
    ),
    Bar("process, close: at least as many connections per second as forking-mixin", as_many_connections),
    *goodput_bars("halfsync"),
    *goodput_bars("halfsync-pool", "pool, "),
)


def table(results: Results) -> list[list[str]]:
    """The rows of the report's section on the bars."""
    words = {True: "cleared", False: "missed", None: "-"}
    outcomes = ((bar, bar.outcome(results)) for bar in BARS)
    return [[bar.target, measured.text, words[measured.cleared]] for bar, measured in outcomes]


def reservations(results: Results) -> str:
    """The workloads in which halfsync failed or answered wrongly, without which no bar counts as cleared."""
    sentences = []
    for name, rows in (("halfsync", OURS), *((row, (row,)) for row in MODELS)):
        faulty = [
            workload
            for workload in dict.fromkeys(cell.workload for cell in results.cells)
            if any(any(results.errors(workload, row)) or results.failures(workload, row) for row in rows)
        ]
        if faulty:
            sentences.append(f"{name} had failures or errors in {', '.join(faulty)}: see the notes there.")
    return "\n".join(sentences)
