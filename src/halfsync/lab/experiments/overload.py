"""What a server answers in time if more is asked of it than it can do, with and without admission control."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from halfsync.lab.judging import exceeds, not_measured, number, percent, said
from halfsync.lab.load import Load
from halfsync.lab.steady import watched

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Samples

CONTROLLED, PLAIN = "admission control", "no admission control"
FLAGS = {CONTROLLED: "--overload-control", PLAIN: "--no-overload-control"}
LOADS = (0.5, 0.9, 1.5, 2.0, 3.0)
"""In units of the capacity."""
THREADS = 4
TURN_MS = 10.0
CAPACITY = THREADS * 1000 / TURN_MS
"""Requests per second that the threads can answer."""
PATIENCE_S = 0.4
"""For how long a client waits: several times the 100 ms for which admission control lets a request wait."""
SETTLE_S = 1.5
"""Long enough for a queue to fill up: at 1.5 x it takes 0.8 s until its requests wait for as long as their clients."""
DURATION_S = 1.5
CONNECTIONS = 64
MORE = 900
KEEPS = 70.0
"""Goodput, in percent of the capacity, of a server past its capacity that keeps it; typical is 90."""
LOSES = 40.0
"""And of one that loses it; typical is below 20."""
PAST = 2.0
"""From this load on, the server is well past its capacity."""


class Overload(Experiment):
    """Goodput at 0.5 to 3 times the capacity, admission control on and off."""

    name = "overload"
    title = "Goodput past the capacity"
    claim = (
        "Past its capacity, a server that queues everything answers next to nothing in time; one that refuses "
        "early keeps its goodput."
    )
    said_by = "Welsh, Culler and Brewer, SEDA, 2001; Cho et al., Breakwater, 2020"
    method = (
        f"Model proactor, {THREADS} threads, a handler that waits {TURN_MS:.0f} ms: a capacity of "
        f"{CAPACITY:.0f} requests per second. Requests come in an open loop, at random times; a client leaves "
        f"after {PATIENCE_S} s. Goodput is what is answered before that, in percent of the capacity. What is "
        "measured begins when a queue had the time to fill up."
    )
    axis = Axis("load", "times the capacity")
    plots = (
        Plot("Goodput against load", "goodput", "answered in time, of the capacity", "%"),
        Plot("Latency of what is answered", "p99_ms", "latency, 99th percentile", "ms"),
        Plot("CPU per answer in time", "cpu_us", "CPU per answer", "µs", log=True),
    )
    published = (
        Published(
            "after a step to 1.4 times the capacity, goodput is back in 20 ms with Breakwater, in 0.5 s with "
            "DAGOR, in 1.58 s with SEDA",
            "Cho et al., Overload Control for µs-scale RPCs with Breakwater, OSDI 2020",
        ),
        Published(
            "the longest response took 3.8 s in a server of bounded stages, and 93 s in Apache",
            "Welsh, Culler and Brewer, SEDA, SOSP 2001",
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return both ways at each load."""
        return Plan(
            tuple(Cell(arm, load) for load in LOADS for arm in FLAGS),
            reference=Cell(CONTROLLED, 0.9),
            primary="goodput",
            duration_s=DURATION_S,
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Load a server for longer than its queue needs to fill up, and count what is answered in time."""
        more = min(MORE, laboratory.machine.limits.connections - CONNECTIONS)
        with laboratory.serving("--threads", str(THREADS), FLAGS[cell.arm]) as server:
            load = Load(
                server.port,
                CONNECTIONS,
                plan.duration_s,
                warm_up_s=SETTLE_S,
                rate=cell.place * CAPACITY,
                paths=((f"/sleep/{TURN_MS:g}", 1.0),),
                patience_s=PATIENCE_S,
                more=more,
                cool_down_s=PATIENCE_S,
            )
            found = watched(laboratory, server, load)
        outcome = found.outcome
        if not outcome.due:
            raise MeasureError("no request was due")
        metrics = {
            "goodput": 100 * outcome.rate / CAPACITY,
            "refused": 100 * outcome.refused / outcome.due,
        }
        if outcome.answered:
            metrics["cpu_us"] = found.cpu_us
            metrics["p99_ms"] = outcome.latencies.at["99"] * 1000
        return Measured(metrics, outcome.bottleneck)

    def judge(self, samples: Samples) -> Verdict:
        """Compare the goodput of both at the highest load."""
        past = [pair for pair in samples.pairs(CONTROLLED, PLAIN, "goodput") if pair[0] >= PAST]
        if not past:
            return not_measured(f"Goodput at {number(PAST)} times the capacity was")
        place, kept, lost = past[-1]
        if kept.mid >= KEEPS and lost.mid <= LOSES and exceeds(kept, lost):
            outcome = Outcome.HOLDS
        elif exceeds(kept, lost, 1.3, samples.noise("goodput")):
            outcome = Outcome.WITHIN_A_LIMIT
        else:
            outcome = Outcome.NOT_SEEN
        sentence = (
            f"At {number(place)} times its capacity a server with admission control answers {percent(kept)} of "
            f"its capacity in time, and one without {percent(lost)}."
        )
        tail = samples.figure(CONTROLLED, place, "p99_ms")
        if tail is not None:
            sentence += f" What the first accepts takes {said(tail, 'ms')} at the 99th percentile."
        return Verdict(outcome, sentence)
