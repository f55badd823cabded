"""How many threads pay: for handlers that wait, that compute, and that do both."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
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
from halfsync.lab.judging import exceeds, listed, not_measured, number, said
from halfsync.lab.laboratory import APPLICATION, NOWHERE
from halfsync.lab.load import Load
from halfsync.lab.server import inherited
from halfsync.lab.steady import steady

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Figure, Samples


@dataclass(frozen=True, slots=True)
class Handler:
    """What an arm requests, with weights, and the rate at which its tail is measured, per second."""

    paths: tuple[tuple[str, float], ...]
    rate: float


HANDLERS = {
    "waits 1 ms": Handler((("/sleep/1", 1.0),), 400.0),
    "waits 10 ms": Handler((("/sleep/10", 1.0),), 400.0),
    "waits 100 ms": Handler((("/sleep/100", 1.0),), 100.0),
    "computes 1 ms": Handler((("/burn/1", 1.0),), 400.0),
    "mixed": Handler((("/sleep/10", 1.0), ("/burn/1", 1.0)), 400.0),
}
WAITS, COMPUTES = "waits 10 ms", "computes 1 ms"
"""The two that the verdict is about."""
THREADS = (1.0, 8.0, 32.0, 128.0, 512.0)
CLIENTS = 64
"""Connections with which the tail is measured; as many more are opened if those are in use."""
PATIENCE_S = 1.0
DURATION_S = 0.8
WARM_UP_S = 0.3
PAYS = 0.9
"""More threads stop paying at the first number that gives this share of the most."""
GAIN = 4.0
"""What more threads must give to an application that waits; 8 threads give 8 times as much, if nothing else limits."""
FLAT = 1.5
"""What they may give to one that computes; with the GIL it is 1."""


Curve = list[tuple[float, "Figure"]]
"""The figures of an arm by the number of threads."""


class PoolSize(Experiment):
    """Throughput and tail over 1 to 512 threads."""

    name = "pool-size"
    title = "How many threads pay"
    claim = "An application that waits needs many threads; one that computes needs few."
    said_by = "the manuals of most servers with thread pools; nginx and .NET in the texts below"
    method = (
        "Model proactor with 1 to 512 threads in one process. Each arm is a handler: one waits without the GIL, one "
        "computes in Python, one does either, in turns. Throughput is that of twice as many clients as threads, each "
        "of which sends its next request after its answer (a closed loop). The tail is that of a fixed rate (an open "
        "loop): 400 requests per second, 100 of the handler that waits 100 ms. The number that `--threads auto` "
        "chooses is among those measured."
    )
    axis = Axis("threads", log=True)
    plots = (
        Plot("Throughput by number of threads", "rate", "answers per second", "1/s", log=True),
        Plot(
            "Latency at a fixed rate, by number of threads",
            "p99_ms",
            "latency, 99th percentile",
            "ms",
            log=True,
        ),
        Plot("CPU per request by number of threads", "cpu_us", "CPU per request", "µs", log=True),
    )
    published = (
        Published(
            "42,024 answers per second of a handler that waits 10 ms, 5,051 of one that waits 100 ms, 512 "
            "connections",
            "Granian 2.3.1, WSGI, benchmarks/vs.md of its repository, May 2025, 16 processors",
        ),
        Published(
            "9 times the throughput with a pool for blocking reads: 9.5 instead of 1 Gbit/s",
            "NGINX, Thread Pools in NGINX Boost Performance 9x!, 2015",
        ),
        Published(
            "at most one more thread every 500 ms while the pool looks for its size", ".NET, hill climbing"
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each handler at each number of threads, and at the one that `auto` chooses. Raises MeasureError."""
        chosen = chosen_threads()
        places = sorted({*THREADS, chosen})
        return Plan(
            tuple(Cell(arm, place) for place in places for arm in HANDLERS),
            reference=Cell(WAITS, THREADS[1]),
            primary="rate",
            rounds=2,
            duration_s=DURATION_S,
            found={"auto": chosen},
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Load a server with so many threads, first by twice as many clients, then by a rate."""
        handler = HANDLERS[cell.arm]
        threads = int(cell.place)
        with laboratory.serving("--threads", str(threads)) as server:
            load = Load(server.port, 2 * threads, plan.duration_s, WARM_UP_S, paths=handler.paths)
            closed = steady(laboratory, server, load)
            fixed = laboratory.load(
                replace(load, connections=CLIENTS, rate=handler.rate, patience_s=PATIENCE_S, more=CLIENTS)
            )
        metrics = {"rate": closed.outcome.rate, "cpu_us": closed.cpu_us}
        if fixed.answered:
            metrics["p99_ms"] = fixed.latencies.at["99"] * 1000
            metrics["answered"] = 100 * fixed.answered / fixed.due
        if cell.place == plan.found["auto"]:
            metrics["auto"] = 1.0
        return Measured(metrics, closed.outcome.bottleneck or fixed.bottleneck)

    def judge(self, samples: Samples) -> Verdict:
        """Compare what more threads give to an application that waits with what they give to one that computes."""
        curves: dict[str, Curve] = {arm: samples.curve(arm, "rate") for arm in HANDLERS}
        for arm in (WAITS, COMPUTES):
            places = [place for place, _ in curves[arm]]
            if 1.0 not in places or not any(place >= 8 for place in places):
                return not_measured(f"An application that {arm} was")
        noise = samples.noise("rate")
        first, most = curves[WAITS][0][1], best(curves[WAITS])
        gain = most.mid / first.mid
        other = best(curves[COMPUTES]).mid / curves[COMPUTES][0][1].mid
        if not exceeds(most, first, GAIN, noise) or other > gain / 2:
            outcome = Outcome.NOT_SEEN
        else:
            outcome = Outcome.HOLDS if other <= FLAT else Outcome.WITHIN_A_LIMIT
        return Verdict(outcome, " ".join([_gains(curves), _where(curves), *_automatic(samples, curves)]))


def best(curve: Curve) -> Figure:
    """Return the highest figure of a curve."""
    return max((figure for _, figure in curve), key=lambda figure: figure.mid)


def stops_paying(curve: Curve) -> float:
    """Return the lowest number of threads that gives PAYS of the most."""
    most = best(curve).mid
    return next(place for place, figure in curve if figure.mid >= PAYS * most)


def _gains(curves: dict[str, Curve]) -> str:
    said_of = []
    for arm in (WAITS, COMPUTES):
        gain = best(curves[arm]).over(curves[arm][0][1])
        said_of.append(f"{said(gain)} times the answers of 1 thread to an application that {arm}")
    return f"More threads give {listed(said_of)}."


def _where(curves: dict[str, Curve]) -> str:
    stops = [f"{number(stops_paying(curve))} ({arm})" for arm, curve in curves.items() if curve]
    return f"They stop paying at {listed(stops)}."


def _automatic(samples: Samples, curves: dict[str, Curve]) -> list[str]:
    """Return what `--threads auto` chose, and what it is worth for each arm."""
    chosen = {sample.place for sample in samples if "auto" in sample.metrics}
    if not chosen:
        return []
    place = max(chosen)
    shares = [
        f"{figure.mid / best(curve).mid:.0%} ({arm})".replace("%", " %")
        for arm, curve in curves.items()
        for at, figure in curve
        if at == place
    ]
    return [f"`--threads auto` chose {number(place)}, which gives {listed(shares)} of the most."]


def chosen_threads() -> float:
    """Return the number of threads that `--threads auto` chooses on this machine. Raises MeasureError."""
    command = [sys.executable, "-m", "halfsync", "check", APPLICATION, "--threads", "auto"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=NOWHERE, env=inherited())
    for line in done.stdout.splitlines():
        if line.startswith("threads "):
            return float(line.split()[1])
    raise MeasureError(f"`halfsync check --threads auto` did not say how many: {done.stderr.strip()[-200:]}")
