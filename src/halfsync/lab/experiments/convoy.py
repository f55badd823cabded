"""What CPU-bound threads do to a server in their process, by the interval for which a thread may keep the GIL."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from halfsync.lab.errors import MeasureError
from halfsync.lab.experiment import (
    Axis,
    Cell,
    Experiment,
    Measured,
    Outcome,
    Plan,
    Plot,
    Published,
    Verdict,
)
from halfsync.lab.judging import exceeds, not_measured, number, said
from halfsync.lab.load import Load
from halfsync.lab.sources import OWN_2026
from halfsync.lab.steady import failures

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Figure, Samples

BUSY = {"no busy thread": 0, "1 busy thread": 1, "4 busy threads": 4}
ALONE, ONE, _ = BUSY
INTERVALS_MS = (0.05, 0.5, 5.0)
USUAL_MS = 5.0
"""What CPython has if nothing sets it."""
CROWD = 32
LATENCIES = (("p50_ms", "median"), ("p99_ms", "99th percentile"))
DURATION_S = 0.8
"""Of each of the two loads of a cell."""
WARM_UP_S = 0.3
SLOWER = 8.0
"""A convoy makes a request so many times as slow, in the median. A busy thread that only shares the processor makes it
slower by a half or less; with the GIL 30 to 100 times is typical, since an answer takes 0.1 ms, and the interval 5."""
RECOVERS = 3.0
"""By what factor a hundredth of the interval must help; typical is 20 or more."""
LONG_S = 20.0
FREE, GIVEN = "free-threaded", "given with --python"
"""What the arms of a further interpreter are called: without the GIL, or with it."""
ASK_GIL = "import sys, halfsync.server; print(int(getattr(sys, '_is_gil_enabled', lambda: True)()))"


class Convoy(Experiment):
    """An I/O-bound server beside k CPU-bound threads."""

    name = "convoy"
    title = "A server beside CPU-bound threads"
    claim = (
        "A CPU-bound thread in the process slows an I/O-bound server far beyond its share of the processor: "
        "each request waits a switch interval for the GIL."
    )
    said_by = "D. Beazley, Understanding the Python GIL, 2010; CPython's issue 7946, the convoy effect"
    method = (
        f"One client, and then {CROWD} clients, in a closed loop; model proactor, an application that answers "
        "at once. In the server's process 0, 1 or 4 threads compute in Python without end. The interval is "
        "set by sys.setswitchinterval. Server on one processor, if there are two: without a convoy, a busy "
        "thread would leave a server that mostly waits as much as it needs, and half of the processor to one "
        "that does not."
    )
    axis = Axis("switch interval", "ms", log=True)
    plots = (
        Plot(
            "Latency of one client beside busy threads", "p50_ms", "latency", "ms", log=True, lines=LATENCIES
        ),
        Plot("Answers to one client beside busy threads", "rate", "answers per second", "1/s", log=True),
        Plot(
            f"Answers to {CROWD} clients beside busy threads",
            "crowd_rate",
            "answers per second",
            "1/s",
            log=True,
        ),
    )
    published = (
        Published(
            "12,636 answers per second alone, 192 beside a busy thread, 6,869 with an interval of 0.05 ms",
            OWN_2026,
        ),
        Published(
            "an echo server beside one busy thread answers a hundredth of what it does alone, and less",
            "D. Beazley, CPython's issue 7946, 2010",
        ),
        Published("free threading: 5 to 10 % slower on one thread", "PEP 779"),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each number of busy threads with each interval, also with the further interpreter."""
        wanted = laboratory.wanted
        arms, notes = list(BUSY), []
        if wanted.python:
            try:
                kind = kind_of(wanted.python)
            except MeasureError as error:
                notes.append(f"nothing was measured with --python: {error}")
            else:
                arms += [f"{arm}, {kind}" for arm in BUSY]
                notes.append(f"{kind}: {wanted.python}")
        return Plan(
            tuple(Cell(arm, interval) for interval in INTERVALS_MS for arm in arms),
            reference=Cell(ALONE, USUAL_MS),
            primary="p50_ms",
            duration_s=DURATION_S,
            notes=tuple(notes),
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Load a server beside its busy threads."""
        busy, _, kind = cell.arm.partition(", ")
        environment = {"LAB_BURNERS": str(BUSY[busy]), "LAB_SWITCH_INTERVAL_S": f"{cell.place / 1000:g}"}
        python = laboratory.wanted.python if kind else None
        with laboratory.serving(environment=environment, python=python) as server:
            one, crowd = (
                laboratory.load(Load(server.port, clients, plan.duration_s, WARM_UP_S))
                for clients in (1, CROWD)
            )
        if not one.answered:
            raise MeasureError(f"no request was answered: {failures(one)}")
        return Measured(
            {
                "rate": one.rate,
                "p50_ms": one.latencies.at["50"] * 1000,
                "p99_ms": one.latencies.at["99"] * 1000,
                "crowd_rate": crowd.rate,
            },
            one.bottleneck,
        )

    def judge(self, samples: Samples) -> Verdict:
        """Compare the rate beside a busy thread with that alone, and what a shorter interval does."""
        pairs = _pairs(samples, "")
        if USUAL_MS not in pairs:
            return not_measured(f"The server alone and beside a busy thread, at {number(USUAL_MS)} ms, was")
        noise = samples.noise("p50_ms")
        alone, beside = pairs[USUAL_MS]
        shortest = min(pairs)
        outcome = Outcome.NOT_SEEN
        if exceeds(beside, alone, SLOWER, noise):
            helps = shortest < USUAL_MS and exceeds(beside, pairs[shortest][1], RECOVERS, noise)
            outcome = Outcome.HOLDS if helps else Outcome.WITHIN_A_LIMIT
        text = (
            f"Beside a busy thread one client waits {said(beside, 'ms')} for an answer instead of "
            f"{said(alone, 'ms')} with the usual interval of {number(USUAL_MS)} ms"
        )
        if shortest < USUAL_MS:
            text += f", and {said(pairs[shortest][1], 'ms')} with {number(shortest)} ms"
        return Verdict(outcome, " ".join([f"{text}.", *_crowd(samples), *_others(samples)]))


def _pairs(samples: Samples, kind: str) -> dict[float, tuple[Figure, Figure]]:
    """Return the median latencies alone and beside one busy thread, by interval, of the interpreter of this kind."""
    pairs = samples.pairs(ALONE + kind, ONE + kind, "p50_ms")
    return {interval: (alone, beside) for interval, alone, beside in pairs}


def _crowd(samples: Samples) -> list[str]:
    """Return what is left for many clients. They lose less: a worker that has the GIL answers all that wait."""
    alone, beside = (samples.figure(arm, USUAL_MS, "crowd_rate") for arm in (ALONE, ONE))
    if alone is None or beside is None:
        return []
    return [f"{CROWD} clients have {said(beside, '/s')} instead of {said(alone, '/s')}."]


def _others(samples: Samples) -> list[str]:
    """Return the same of the further interpreter, if there is one."""
    sentences = []
    for kind in (FREE, GIVEN):
        pairs = _pairs(samples, f", {kind}")
        if USUAL_MS in pairs:
            alone, beside = pairs[USUAL_MS]
            sentences.append(
                f"The interpreter that is {kind}: {said(beside, 'ms')} instead of {said(alone, 'ms')}."
            )
    return sentences


def kind_of(python: str) -> str:
    """Return whether an interpreter runs halfsync without the GIL. MeasureError if it does not run halfsync."""
    try:
        done = subprocess.run(
            [python, "-c", ASK_GIL], capture_output=True, text=True, check=False, timeout=LONG_S, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeasureError(f"{python} does not run: {error}") from error
    if done.returncode:
        raise MeasureError(f"{python} does not run halfsync: {done.stderr.strip()[-200:]}")
    return GIVEN if done.stdout.strip() == "1" else FREE
