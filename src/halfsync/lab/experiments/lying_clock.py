"""One stall of a server, as a closed-loop and as an open-loop generator sees it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.lab import kernel
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
from halfsync.lab.judging import exceeds, not_measured, number, said
from halfsync.lab.load import Load
from halfsync.lab.steady import wait_until_open

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Samples

CLOSED, OPEN = "closed loop", "open loop"
STALLS_S = (0.0, 0.35, 0.7, 1.4)
LONG_S = 0.7
"""The verdict is about stalls of this length or more."""
CLIENTS = 10
RATE = 500.0
DURATION_S = 4.0
WARM_UP_S = 0.5
BEGINS_S = 1.0
"""From the start of the time that counts to the stall."""
HIDES = 10.0
"""By what factor a closed loop shows too little; typical is a hundred or more."""
SOME = 2.0
NEAR = 0.2
"""By what share the 99th percentile of an open loop may differ from what arithmetic says."""


def expected_p99_s(stall_s: float, duration_s: float) -> float:
    """Return the 99th percentile of clients that come at an even rate while a server stands still for a time.

    A request that is due when x of the stall are left takes x. More than x take those of the first (stall - x) seconds
    of the stall; they are a hundredth of all if stall - x is a hundredth of the duration.
    """
    return max(0.0, stall_s - duration_s / 100)


class LyingClock(Experiment):
    """The same stall, seen by a closed loop and by an open loop."""

    name = "lying-clock"
    title = "A stall, and which generator shows it"
    claim = (
        "A load generator that waits for each answer before it sends the next request hides what a stall does "
        "to clients."
    )
    said_by = "G. Tene, on coordinated omission; Schroeder, Wierman and Harchol-Balter, Open Versus Closed, NSDI 2006"
    method = (
        f"All threads of the server are stopped by SIGSTOP for 0 to 1.4 s, once in {DURATION_S:.0f} s. The "
        f"closed loop has {CLIENTS} clients that each send the next request after an answer; the open loop "
        f"sends {RATE:.0f} requests per second whatever happens, and its latencies count from when a request "
        "was due. Uncorrected: the same requests from when they were sent. Arithmetic says that the 99th "
        "percentile is the stall less a hundredth of the duration."
    )
    axis = Axis("stall", "s")
    plots = (
        Plot(
            "The 99th percentile that is reported",
            "p99_ms",
            "latency, 99th percentile",
            "ms",
            log=True,
            lines=(("p99_ms", ""), ("uncorrected_p99_ms", "uncorrected")),
        ),
        Plot("The highest latency that is reported", "max_ms", "maximum", "ms", log=True),
    )
    published = (
        Published(
            "99th percentile with a stall of 1.4 s: 6 ms uncorrected, 1.27 s corrected",
            "wrk2's README, G. Tene",
        ),
        Published(
            "response times of closed and open systems differ by an order of magnitude at the same load",
            "Schroeder et al., NSDI 2006",
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return both generators with each stall."""
        return Plan(
            tuple(Cell(arm, stall) for stall in STALLS_S for arm in (CLOSED, OPEN)),
            reference=Cell(OPEN, 1.4),
            primary="p99_ms",
            duration_s=DURATION_S,
            least_s=BEGINS_S + STALLS_S[-1] + 0.2,
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Load a server, and stop it for the time of the cell while it is loaded."""
        rate = RATE if cell.arm == OPEN else None
        with laboratory.serving() as server:
            load = Load(server.port, CLIENTS, plan.duration_s, WARM_UP_S, rate, even=rate is not None)
            with laboratory.loading(load) as generation:
                wait_until_open(generation, CLIENTS)
                if cell.place:
                    time.sleep(WARM_UP_S + BEGINS_S)
                    _stall(server.session, cell.place)
                outcome = generation.wait()
        if not outcome.answered:
            raise MeasureError("no request was answered")
        return Measured(
            {
                "p50_ms": outcome.latencies.at["50"] * 1000,
                "p99_ms": outcome.latencies.at["99"] * 1000,
                "max_ms": outcome.latencies.max_s * 1000,
                "uncorrected_p99_ms": outcome.uncorrected.at["99"] * 1000,
                "expected_ms": expected_p99_s(cell.place, outcome.elapsed_s) * 1000,
                "rate": outcome.rate,
            },
            outcome.bottleneck,
        )

    def judge(self, samples: Samples) -> Verdict:
        """Compare what both report of the longest stall, and the open loop with arithmetic."""
        long = [pair for pair in samples.pairs(CLOSED, OPEN, "p99_ms") if pair[0] >= LONG_S]
        if not long:
            return not_measured("A long stall was")
        stall, less, more = long[-1]
        expected = samples.figure(OPEN, stall, "expected_ms")
        noise = samples.noise("p99_ms")
        right = expected is not None and abs(more.mid - expected.mid) <= NEAR * expected.mid
        if right and exceeds(more, less, HIDES, noise):
            outcome = Outcome.HOLDS
        elif exceeds(more, less, SOME, noise):
            outcome = Outcome.WITHIN_A_LIMIT
        else:
            outcome = Outcome.NOT_SEEN
        sentence = (
            f"Of a stall of {number(stall)} s, the closed loop reports a 99th percentile of "
            f"{said(less, 'ms')}, the open loop one of {said(more, 'ms')}"
        )
        if expected is not None:
            sentence += f", where arithmetic says {said(expected, 'ms')}"
        return Verdict(outcome, f"{sentence}: {number(more.mid / less.mid)} times as much.")


def _stall(session: int, seconds: float) -> None:
    """Stop each process of a session for so long."""
    pids = kernel.pids_of(session)
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
