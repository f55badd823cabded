"""The four models by the number of clients, on the user's own application or on one that answers at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
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
from halfsync.lab.judging import exceeds, listed, not_measured, number, said
from halfsync.lab.laboratory import APPLICATION
from halfsync.lab.load import Load
from halfsync.lab.sizes import Most, grid, most_clients
from halfsync.lab.steady import failures, holding, steady, warm
from halfsync.lab.wording import share

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.load import Outcome as LoadOutcome
    from halfsync.lab.samples import Figure, Samples
    from halfsync.lab.server import ServerUnderTest

ASYNC, THREADS = "proactor", "thread"
CLIENTS = (1, 10, 100, 1000, 10_000)
PROCESSES_MOST = 300
"""Clients of the model `process`, unless the user asks for more: to fork a thousand times takes seconds."""
REFERENCE_CLIENTS = 100
DURATION_S = 1.0
WARM_UP_S = 0.2
SPARE_CHILDREN = 8
"""For connections that are closed, but whose children have not ended."""
FIXED_SHARE = 0.3
"""The fixed rate is this share of what the reference can do with the fewest clients: no cell is near its limit."""
QUEUE_LEAST = 2048
UNANSWERED = 0.001
"""The share of the requests that may be left unanswered without a note."""
MAGNITUDE = 7.0
"""An order of magnitude, in round figures. 0.5 to 5 times is typical, the most of it with thousands of clients."""


class Models(Experiment):
    """One application in four models."""

    name = "models"
    title = "Four models, by number of clients"
    claim = "Async beats a thread per connection by an order of magnitude."
    said_by = "Said of event-driven servers since “The C10K problem” (Kegel, 1999)"
    method = (
        "Each number of clients keeps its connections open. First each client has one answer and rests: the memory "
        "of all processes, with page tables, less that of the server without clients, is that of the connections. "
        "Then all ask again as soon as they are answered (a closed loop), which gives answers per second, and CPU "
        "per request from the CPU clocks of all processes between two moments of this load. Last, requests come at "
        "a fixed rate, the same for all models and 30 % of what the reference can do with the fewest clients (an "
        "open loop), which gives the latencies. The models have their default settings, but a queue that holds all "
        "clients, and no overload control."
    )
    axis = Axis("clients", log=True)
    plots = (
        Plot("CPU per request", "cpu_us", "CPU per request", "µs"),
        Plot("Answers per second, as many as possible", "rate", "answers per second", "1/s"),
        Plot("Median latency at a fixed rate", "p50_ms", "latency, 50th percentile", "ms", log=True),
        Plot("Tail latency at a fixed rate", "p99_ms", "latency, 99th percentile", "ms", log=True),
        Plot("Memory per connection", "memory_kb", "memory per connection", "KB", log=True),
    )
    published = (
        Published(
            "tuned event-driven and pipelined servers are about 18 % faster than a thread per connection",
            "Pariag et al., EuroSys 2007",
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each model at each number of clients that is possible. MeasureError if nothing is answered."""
        wanted = laboratory.wanted

        def most(model: str) -> Most:
            possible = most_clients(laboratory.machine.limits, model)
            if model == "process" and wanted.clients is None and possible.clients > PROCESSES_MOST:
                return Most(PROCESSES_MOST, "the time; ask for more by --clients")
            return possible

        cells, notes = grid(wanted.models, wanted.clients or CLIENTS, most)
        arm = ASYNC if ASYNC in wanted.models else wanted.models[0]
        of_arm = [cell for cell in cells if cell.arm == arm]
        reference = min(of_arm, key=_from_the_middle)
        rate = FIXED_SHARE * self._capacity(of_arm[0], laboratory)
        found = {"rate": float(f"{max(1.0, rate):.2g}")}
        return Plan(tuple(cells), reference, "cpu_us", duration_s=DURATION_S, notes=tuple(notes), found=found)

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Measure memory, then throughput and CPU, then latencies at the fixed rate."""
        clients = int(cell.place)
        with self._serving(cell, laboratory) as server:
            memory_bytes, opened_s = self._memory(server, clients, laboratory)
            load = self._load(server, clients, laboratory, plan.duration_s, WARM_UP_S + opened_s)
            closed = steady(laboratory, server, load)
            rate = plan.found["rate"]
            fixed = laboratory.load(replace(load, rate=rate))
        if not fixed.answered:
            raise MeasureError(f"no request of {number(rate)} per second was answered: {failures(fixed)}")
        latencies = fixed.latencies.at
        metrics = {
            "cpu_us": closed.cpu_us,
            "rate": closed.outcome.rate,
            "p50_ms": latencies["50"] * 1000,
            "p99_ms": latencies["99"] * 1000,
        }
        if memory_bytes > 0:  # a connection or two may take less than the server has released since
            metrics["memory_kb"] = memory_bytes / clients / 1000
        notes = [
            *_remarks(closed.outcome, f"{cell.arm}, {clients} clients, as many requests as possible"),
            *_remarks(fixed, f"{cell.arm}, {clients} clients, at the fixed rate"),
        ]
        return Measured(metrics, "; ".join(notes))

    def judge(self, samples: Samples) -> Verdict:
        """Compare the rates of the thread and the async model at each number of clients."""
        pairs = samples.pairs(ASYNC, THREADS, "rate")
        if not pairs:
            return not_measured(f"The models {THREADS} and {ASYNC} at the same number of clients were")
        ratios = {clients: one.over(other) for clients, one, other in pairs}
        noise = samples.noise("rate")
        beaten = [clients for clients, one, other in pairs if exceeds(one, other, MAGNITUDE, noise)]
        if not beaten:
            outcome = Outcome.NOT_SEEN
        elif len(beaten) == len(ratios):
            outcome = Outcome.HOLDS
        else:
            outcome = Outcome.WITHIN_A_LIMIT
        return Verdict(outcome, _sentence(ratios, beaten, samples))

    def _capacity(self, cell: Cell, laboratory: Laboratory) -> float:
        """Return how many requests per second a cell answers."""
        with self._serving(cell, laboratory) as server:
            load = self._load(server, int(cell.place), laboratory, DURATION_S, WARM_UP_S)
            outcome = laboratory.load(load)
        if not outcome.answered:
            raise MeasureError(f"{laboratory.wanted.path} is not answered: {failures(outcome)}")
        return outcome.rate

    def _serving(self, cell: Cell, laboratory: Laboratory) -> AbstractContextManager[ServerUnderTest]:
        queue = ("--queue-size", str(max(QUEUE_LEAST, int(cell.place))), "--no-overload-control")
        more = {
            "process": ("--max-children", str(int(cell.place) + SPARE_CHILDREN)),
            "pool": queue,
            "proactor": queue,
        }.get(cell.arm, ())
        target = laboratory.application or APPLICATION
        return laboratory.serving("--model", cell.arm, *more, target=target)

    def _load(
        self,
        server: ServerUnderTest,
        clients: int,
        laboratory: Laboratory,
        duration_s: float,
        warm_up_s: float,
    ) -> Load:
        paths = ((laboratory.wanted.path, 1.0),)
        return Load(server.port, clients, duration_s, warm_up_s=warm_up_s, paths=paths)

    def _memory(self, server: ServerUnderTest, clients: int, laboratory: Laboratory) -> tuple[float, float]:
        """Return the memory that the connections of idle clients take, in bytes, and how long it took to open them."""
        warm(server, laboratory.wanted.path)
        server.settle()
        empty = server.memory()
        with holding(laboratory, server, clients, laboratory.wanted.path) as opened_s:
            full = server.memory()
        return float(full.used_bytes - empty.used_bytes), opened_s


def _from_the_middle(cell: Cell) -> float:
    return abs(math.log(cell.place / REFERENCE_CLIENTS))


def _remarks(outcome: LoadOutcome, when: str) -> list[str]:
    """Return what a reader must know of a load to believe its figures."""
    remarks = [f"{when}: {outcome.bottleneck}"] if outcome.bottleneck else []
    sent = max(1, outcome.due)
    if (sent - outcome.answered) / sent > UNANSWERED:
        remarks.append(f"{when}: not all requests were answered: {failures(outcome)}")
    return remarks


def _sentence(ratios: Mapping[float, Figure], beaten: list[float], samples: Samples) -> str:
    """Return the range of the ratios, where they are an order of magnitude, the largest, and what the CPU says."""
    largest = max(ratios, key=lambda place: ratios[place].mid)
    low, high = number(min(ratios)), number(max(ratios))
    lowest, highest = (number(each(ratio.mid for ratio in ratios.values())) for each in (min, max))
    places = f"{low} to {high}" if low != high else low
    among = f"{lowest} to {highest}" if lowest != highest else highest
    at_some = 0 < len(beaten) < len(ratios)
    where = (
        f", and more than {number(MAGNITUDE)} times, about an order of magnitude, "
        f"at {listed([number(each) for each in beaten])} clients"
        if at_some
        else ""
    )
    noise = samples.noise("cpu_us")
    floor = "" if noise is None else f"; the noise floor is {share(noise)}"
    return (
        f"At {places} clients the proactor answers {among} times as many requests per second as a thread per "
        f"connection{where}; most at {number(largest)} clients: {said(ratios[largest])} times"
        f"{_cpu(samples, largest)}{floor}."
    )


def _cpu(samples: Samples, place: float) -> str:
    costs = [samples.figure(arm, place, "cpu_us") for arm in (ASYNC, THREADS)]
    if costs[0] is None or costs[1] is None:
        return ""
    return f", with {said(costs[0], 'µs')} of CPU per request against {said(costs[1], 'µs')}"
