"""What slow clients do to the others, by model."""

from __future__ import annotations

from dataclasses import replace
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
from halfsync.lab.judging import exceeds, listed, not_measured, number, percent
from halfsync.lab.load import Load
from halfsync.lab.sizes import Most, grid, most_clients
from halfsync.lab.steady import watched

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Figure, Samples

SLOW = (0, 10, 100, 1000)
RATE = 200.0
HEALTHY = 16
MORE = 200
"""Further connections of healthy clients, if those wait for answers."""
PATIENCE_S = 0.5
SETTLE_S = 0.6
"""From the start of the slow clients to the time that counts."""
DURATION_S = 1.5
UNHURT = 0.9
"""The share of the healthy clients' requests that is answered in time by a model that slow clients do not hurt."""
HURT = 0.5
"""And at most by one that they do: it is next to none, since the pool has fewer threads than there are slow clients."""
FEW = 10
"""So many slow clients hold all threads of the pool, which has 4 by default."""


class SlowClients(Experiment):
    """Goodput of healthy clients beside 0 to 1,000 slow ones."""

    name = "slow-clients"
    title = "Healthy clients beside slow ones"
    claim = (
        "A slow client holds a thread of a pool, so that a few of them stop it; a server whose workers get complete "
        "requests is not hurt."
    )
    said_by = "texts on Slowloris and on servers behind proxies; gunicorn's documentation"
    method = (
        f"{RATE:.0f} requests per second of healthy clients, in an open loop, each of which leaves after "
        f"{PATIENCE_S} s; beside them clients that send a byte of their head every second and never finish, "
        "and come again when they are closed. Each model with its default settings. Goodput is the share of "
        "the healthy clients' requests that was answered in time."
    )
    axis = Axis("slow clients", log=True)
    plots = (
        Plot("Goodput of healthy clients", "goodput", "answered in time", "%"),
        Plot("Latency of healthy clients", "p99_ms", "latency, 99th percentile", "ms", log=True),
        Plot("CPU with slow clients", "cpu_us", "CPU per answer", "µs", log=True),
    )
    published = (
        Published(
            "partial requests on all of its threads make a threaded server unreachable, from a single machine",
            "R. Hansen, Slowloris HTTP DoS, 2009",
        ),
        Published(
            "a buffering proxy is needed in front of workers that serve a connection each",
            "gunicorn's documentation, Deploying Gunicorn",
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each model beside each number of slow clients for which there are descriptors."""
        wanted = laboratory.wanted

        def most(model: str) -> Most:
            all_clients = most_clients(laboratory.machine.limits, model)
            return replace(all_clients, clients=all_clients.clients - HEALTHY - MORE)

        cells, notes = grid(wanted.models, SLOW, most)
        return Plan(
            tuple(cells),
            reference=Cell(wanted.models[-1], 0.0),
            primary="cpu_us",
            duration_s=DURATION_S,
            notes=tuple(notes),
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Load a server of one model by healthy and slow clients."""
        with laboratory.serving("--model", cell.arm) as server:
            load = Load(
                server.port,
                HEALTHY,
                plan.duration_s,
                warm_up_s=SETTLE_S,
                rate=RATE,
                patience_s=PATIENCE_S,
                more=MORE,
                slow=int(cell.place),
            )
            found = watched(laboratory, server, load)
        outcome = found.outcome
        if not outcome.due:
            raise MeasureError("no request of a healthy client was due")
        metrics = {"goodput": 100 * outcome.answered / outcome.due}
        if outcome.answered:
            metrics["cpu_us"] = found.cpu_us
            metrics["p99_ms"] = outcome.latencies.at["99"] * 1000
        return Measured(metrics, outcome.bottleneck)

    def judge(self, samples: Samples) -> Verdict:
        """Compare the goodput of pool and proactor beside as many slow clients as were tried."""
        pool, proactor = (samples.curve(arm, "goodput") for arm in ("pool", "proactor"))
        crowded = [(place, figure) for place, figure in pool if place >= FEW]
        beside = [(place, figure) for place, figure in proactor if place >= FEW]
        if not crowded or not beside:
            return not_measured("Pool and proactor beside slow clients were")
        worst, least = _lowest(crowded), _lowest(beside)
        if least.mid >= UNHURT * 100 and worst.mid <= HURT * 100:
            outcome = Outcome.HOLDS
        elif exceeds(least, worst, 1.2, samples.noise("goodput")):
            outcome = Outcome.WITHIN_A_LIMIT
        else:
            outcome = Outcome.NOT_SEEN
        return Verdict(outcome, _sentence(samples, min(place for place, _ in crowded)))


def _lowest(curve: list[tuple[float, Figure]]) -> Figure:
    return min((figure for _, figure in curve), key=lambda figure: figure.mid)


def _sentence(samples: Samples, few: float) -> str:
    """Return each model's goodput beside a few slow clients, and beside as many as were tried."""
    parts = []
    for arm in samples.arms():
        curve = dict(samples.curve(arm, "goodput"))
        if few not in curve:
            continue
        most = max(curve)
        more = f" and {percent(curve[most])} beside {number(most)}" if most > few else ""
        parts.append(f"{arm} answers {percent(curve[few])} in time beside {number(few)} slow clients{more}")
    return f"Of the healthy clients' requests, {listed(parts)}."
