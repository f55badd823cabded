"""What it costs to create a process or a thread for each connection, by the size of the process that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.lab.experiment import Axis, Cell, Experiment, Measured, Outcome, Plan, Plot, Published, Verdict
from halfsync.lab.judging import exceeds, listed, not_measured, number, said
from halfsync.lab.load import Load
from halfsync.lab.loaded import ANY_PORT, loaded
from halfsync.lab.sources import FORK_IN_THE_ROAD, OWN_2026, TUTORIAL

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Pair, Samples

POOL = "pool"
CREATED = {"process": "a process", "thread": "a thread"}
"""The models that create something for each connection."""
SIZES_MB = (10.0, 30.0, 100.0, 300.0)
CLIENTS = 16
DURATION_S = 1.0
DEAR = 2.0
"""Creating is costly if a connection then takes so many times the CPU of one that a pool serves. Typical are 3 and more
for a thread, which Python has to know too, and 50 to 500 for a process."""


class Creation(Experiment):
    """A connection for each request, by model and by the size of the parent."""

    name = "creation"
    title = "A process or a thread for each connection"
    claim = "Creating and destroying a thread or process per connection is costly, so pool them."
    said_by = TUTORIAL
    method = (
        f"{CLIENTS} clients in a closed loop, with a new connection for each request, which is answered at "
        "once and with `Connection: close`. The models process and thread create a process or a thread for "
        "each connection; pool and proactor have a pool of threads. The application holds 10 to 300 MB, each "
        "page of which was written. CPU counts all processes of the server, with those that have ended."
    )
    axis = Axis("memory of the application", "MB", log=True)
    plots = (
        Plot("CPU of a connection", "cpu_us", "CPU for each connection", "µs", log=True),
        Plot("Connections per second, on one processor", "rate", "connections per second", "1/s", log=True),
    )
    published = (
        Published(
            "connections per second: 852 with a process each, 12,500 with a thread each, 16,000 with a pool "
            "of threads, 17,600 with an event loop",
            OWN_2026,
        ),
        Published(
            "fork takes longer in proportion to the memory of the parent: 65 times as long at 1 GB",
            FORK_IN_THE_ROAD,
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each model at each size."""
        wanted = laboratory.wanted
        return Plan(
            tuple(Cell(model, size) for size in SIZES_MB for model in wanted.models),
            reference=Cell(wanted.models[-1], SIZES_MB[0]),
            primary="cpu_us",
            duration_s=DURATION_S,
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Load a server of this size by short connections."""
        load = Load(ANY_PORT, CLIENTS, plan.duration_s, fresh=True)
        environment = {"LAB_BALLAST_MB": f"{cell.place:g}"}
        found = loaded(laboratory, load, "--model", cell.arm, environment=environment)
        outcome = found.outcome
        metrics = {
            "cpu_us": found.cpu_us,
            "rate": outcome.rate,
            "p99_ms": outcome.latencies.at["99"] * 1000,
            "switches": found.switches,
        }
        return Measured(metrics, outcome.bottleneck)

    def judge(self, samples: Samples) -> Verdict:
        """Compare what a connection costs the creating models with what it costs the pool, at each size."""
        noise = samples.noise("cpu_us")
        compared = {arm: samples.pairs(arm, POOL, "cpu_us") for arm in CREATED}
        compared = {arm: pairs for arm, pairs in compared.items() if pairs}
        if "process" not in compared:
            return not_measured("A process for each connection, and a pool at the same size, were")
        dear = [
            arm
            for arm, pairs in compared.items()
            if any(exceeds(created, pooled, DEAR, noise) for _, created, pooled in pairs)
        ]
        outcome = Outcome.WITHIN_A_LIMIT if dear else Outcome.NOT_SEEN
        if len(dear) == len(CREATED):
            outcome = Outcome.HOLDS
        parts = [f"with {CREATED[arm]} of its own {_times(pairs)}" for arm, pairs in compared.items()]
        size, _, pooled = compared["process"][0]
        sentence = (
            f"A connection that the pool serves takes {said(pooled, 'µs')} of CPU (application of {number(size)} MB); "
            f"{listed(parts)}."
        )
        missing = listed([CREATED[arm] for arm in CREATED if arm not in compared])
        return Verdict(outcome, sentence + (f" With {missing} it was not measured." if missing else ""))


def _times(pairs: list[Pair]) -> str:
    at = [
        f"{said(created.over(pooled))} times as much at {number(size)} MB" for size, created, pooled in pairs
    ]
    return ", ".join(at[:1] + at[1:][-1:])
