"""What the queue between the halves costs, by how long the application takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.lab.experiment import Axis, Cell, Experiment, Measured, Outcome, Plan, Plot, Published, Verdict
from halfsync.lab.judging import exceeds, not_measured, number, said
from halfsync.lab.load import Load
from halfsync.lab.loaded import ANY_PORT, loaded
from halfsync.lab.sources import TUTORIAL

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Pair, Samples

QUEUED, DIRECT = "proactor", "thread"
ARMS = (QUEUED, "pool", DIRECT)
LENGTHS_US = (0.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CLIENTS = 32
DURATION_S = 0.4
"""Of each of the two loads of a cell."""
MATTERS = 1.1
"""The hop matters if it makes a request this many times as dear."""


class Hop(Experiment):
    """A request that goes through the queue, beside one that its connection's own thread answers."""

    name = "hop"
    title = "The queue between the halves"
    claim = (
        "To hand each request to a worker through a queue costs more than to answer it where it was received."
    )
    said_by = f"Pariag et al., EuroSys 2007; Hu, Pyarali and Schmidt, GLOBECOM 1997; the design is that of {TUTORIAL}"
    method = (
        "The application computes for 0 to 1,000 µs, in Python, with keep-alive. In the proactor each request "
        "goes from the engine's thread through the queue to a worker; in the model thread the connection's "
        "own thread answers it; in the pool too, while no other connection waits. One client at a time shows "
        f"the whole hop; {CLIENTS} clients in a closed loop show what is left of it if one wake-up serves many "
        "requests. Server on one processor, if there are two."
    )
    axis = Axis("the application computes", "µs", log=True)
    plots = (
        Plot("CPU of a request, one client", "one_cpu_us", "CPU per request", "µs", log=True),
        Plot("Latency, one client", "one_p50_us", "median latency", "µs", log=True),
        Plot(f"CPU of a request, {CLIENTS} clients", "cpu_us", "CPU per request", "µs", log=True),
        Plot(
            "Switches of a request",
            "switches",
            "voluntary switches per request",
            "",
            lines=(
                ("one_switches", "one client"),
                ("switches", f"{CLIENTS} clients"),
            ),
        ),
    )
    published = (
        Published(
            "tuned servers with events and with stages answer about 18 % more than one with a thread for each "
            "connection",
            "Pariag et al., EuroSys 2007",
        ),
        Published(
            "answering in the same thread is faster below 50 KB, asynchronous I/O above",
            "Hu, Pyarali and Schmidt, GLOBECOM 1997",
        ),
        Published(
            "93,251 requests per second with the proactor, 69,175 with the reactor",
            "README of TinyWebServer, by webbench",
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each model at each length."""
        wanted = laboratory.wanted
        arms = [arm for arm in ARMS if arm in wanted.models]
        return Plan(
            tuple(Cell(arm, length) for length in LENGTHS_US for arm in arms),
            reference=Cell(arms[0], LENGTHS_US[0]) if arms else Cell(QUEUED, 0.0),
            primary="one_cpu_us",
            duration_s=DURATION_S,
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Load a server by one client, and then by many."""
        path = f"/burn/{cell.place / 1000:g}" if cell.place else "/"
        one, many = (
            loaded(
                laboratory,
                Load(ANY_PORT, clients, plan.duration_s, paths=((path, 1.0),)),
                "--model",
                cell.arm,
            )
            for clients in (1, CLIENTS)
        )
        return Measured(
            {
                "one_cpu_us": one.cpu_us,
                "one_p50_us": one.outcome.latencies.at["50"] * 1e6,
                "one_switches": one.switches,
                "cpu_us": many.cpu_us,
                "switches": many.switches,
                "rate": many.outcome.rate,
                "p99_ms": many.outcome.latencies.at["99"] * 1000,
            },
            many.outcome.bottleneck,
        )

    def judge(self, samples: Samples) -> Verdict:
        """Compare a request through the queue with one without it, for one client, at each length."""
        pairs = samples.pairs(QUEUED, DIRECT, "one_cpu_us")
        if not pairs or pairs[0][0] > 0:
            return not_measured(
                "The proactor and the model thread, with an application that answers at once, were"
            )
        noise = samples.noise("one_cpu_us")
        matters = [length for length, queued, direct in pairs if exceeds(queued, direct, MATTERS, noise)]
        if pairs[0][0] not in matters:
            outcome = Outcome.NOT_SEEN
        else:
            outcome = Outcome.HOLDS if pairs[-1][0] in matters else Outcome.WITHIN_A_LIMIT
        return Verdict(outcome, " ".join([_cost(pairs), *_until(pairs, matters), *_crowd(samples)]))


def _cost(pairs: list[Pair]) -> str:
    _, queued, direct = pairs[0]
    return (
        f"For one client, a request that is answered at once takes {said(queued, 'µs')} of CPU through the queue and "
        f"{said(direct, 'µs')} without it."
    )


def _until(pairs: list[Pair], matters: list[float]) -> list[str]:
    """Return from which length the hop makes less than a tenth of a request, if there is one measured."""
    if not matters:
        return []
    less = [length for length, _, _ in pairs if length > max(matters)]
    share = f"{(MATTERS - 1) * 100:.0f} %"
    if less:
        return [f"From {number(min(less))} µs of the application on, the difference is less than {share}."]
    return [f"With {number(pairs[-1][0])} µs of the application it is still more than {share}."]


def _crowd(samples: Samples) -> list[str]:
    pairs = samples.pairs(QUEUED, DIRECT, "cpu_us")
    if not pairs or pairs[0][0] > 0:
        return []
    _, queued, direct = pairs[0]
    return [f"With {CLIENTS} clients at one time: {said(queued, 'µs')} and {said(direct, 'µs')}."]
