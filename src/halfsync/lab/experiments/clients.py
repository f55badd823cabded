"""What an open connection costs, by model: memory, the time to set it up, and what an active client notices."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

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
from halfsync.lab.sizes import Most, grid, most_clients
from halfsync.lab.steady import sockets_of, warm

if TYPE_CHECKING:
    from halfsync.lab.generating import Generation
    from halfsync.lab.kernel import Memory
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.load import Outcome as LoadOutcome
    from halfsync.lab.samples import Figure, Samples
    from halfsync.lab.server import ServerUnderTest

PROCESS, ASYNC = "process", "proactor"
CLIENTS = (10, 100, 1000, 10_000)
FEW, MANY = 100.0, 10_000.0
"""What the claim calls few and many."""
ENOUGH = 1000.0
"""The verdict needs so many processes: what more of them take is then known."""
SAMPLE_CLIENTS = 50
"""So many children show what one takes."""
MORE = 32
"""Room for the active client and those that were there before."""
CHILD_MARGIN = 1.2
"""How much more than at first a child may take: it keeps what it has touched."""
ACTIVE_RATE = 100.0
DURATION_S = 1.0
OPENING_S = 300.0
OPENING_MOST_S = 30.0
"""No more clients are asked for than can have connected after this time, at the pace of the first."""
STALLED_S = 10.0
"""No more connections come if none came for so long."""
LOOK_S = 0.02
HELD_S = 3600.0
"""Longer than anything takes: the connections are held until all is measured."""
KERNEL_FROM = 1000
"""From so many connections on, the kernel's memory is told from what the rest of the machine does."""
OPEN = 0.99
"""All are open if this share of them is."""
DEAR = 10.0
"""A process for each client is dear if it takes so many times the memory; typical is a hundred times and more."""
SOME = 3.0
HEAVY_MB = 2000.0
"""Idle connections must not take more than this; typical are 9 GB for 10,000 processes, and 0.1 GB without."""
MB = 1e6


class Clients(Experiment):
    """10 to 10,000 open connections, of which one is active."""

    name = "clients"
    title = "Ten to ten thousand clients"
    claim = "A process per client does for 100 clients, but not for 10,000."
    said_by = "“进程线程” (processes and threads), a tutorial on servers; Kegel, The C10K problem, 1999"
    method = (
        "So many clients connect, have one answer, and then do nothing. Memory is the proportional set size of all "
        "processes of the server with their page tables, less what it was before; the kernel's objects (slab) and "
        "stacks are those of the whole machine, with the sockets of both ends. Set-up is the time until all clients "
        "have their answer, up to 128 of them connecting at one time. Beside them, one more client sends "
        f"{ACTIVE_RATE:.0f} requests per second in an open loop. No setting limits the number: what limits it is the "
        "machine."
    )
    axis = Axis("open connections", log=True)
    plots = (
        Plot("Memory per connection", "memory_kb", "memory per connection", "KB", log=True),
        Plot(
            "Memory of the kernel per connection",
            "kernel_kb",
            "slab and stacks per connection",
            "KB",
            log=True,
        ),
        Plot("Set-up of a connection", "setup_us", "set-up per connection", "µs", log=True),
        Plot("One active client beside idle ones", "p99_ms", "latency, 99th percentile", "ms", log=True),
    )
    published = (
        Published(
            "10,000 connections of plain programs: 9 GB with processes, 0.8 GB with threads, 50 MB with "
            "epoll; set-up of a process 1.4 ms at 100, 5.4 ms at 6,000",
            "measured by the authors on a virtual machine with 2 processors, November 2026",
        ),
        Published(
            "ten thousand clients at one time are what a server must be made for",
            "Kegel, The C10K problem, 1999",
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each model at each number of clients for which there are memory, descriptors and PIDs."""
        wanted = laboratory.wanted
        cells, notes = grid(
            wanted.models, wanted.clients or CLIENTS, lambda model: self._most(model, laboratory)
        )
        last = [cell for cell in cells if cell.arm == wanted.models[-1]]
        return Plan(
            tuple(cells),
            reference=last[min(1, len(last) - 1)],
            primary="p99_ms",
            duration_s=DURATION_S,
            notes=tuple(notes),
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Hold idle connections, read what they take, and ask beside them."""
        clients = int(cell.place)
        active_s = plan.duration_s
        with laboratory.serving(*_flags(cell.arm, clients)) as server:
            warm(server, "/")
            server.settle()
            before = server.memory()
            with laboratory.loading(_idle(server, clients)) as generation:
                _wait_until_no_more_come(generation, clients)
                server.settle()
                beside = laboratory.load(
                    Load(server.port, 1, active_s, warm_up_s=0.2, rate=ACTIVE_RATE, even=True)
                )
                after = server.memory()
                held = generation.end()
            last_line = server.last_lines(1)
        metrics = _metrics(clients, before, after, held)
        if beside.answered:
            metrics["p99_ms"] = beside.latencies.at["99"] * 1000
        return Measured(metrics, _note(cell, held, last_line))

    def judge(self, samples: Samples) -> Verdict:
        """Look at what few processes do, and at what many fail at or take."""
        opened = dict(samples.curve(PROCESS, "open"))
        few = max((place for place in opened if place <= FEW), default=None)
        most = max(opened, default=0.0)
        if few is None or most < ENOUGH:
            return not_measured(f"{number(FEW)} processes, and {number(ENOUGH)} or more, were")
        both = [pair for pair in samples.pairs(PROCESS, ASYNC, "memory_kb") if pair[0] >= ENOUGH]
        if not both:
            return not_measured("The memory of as many connections of both models was")
        place, each, light = both[-1]
        heavy = each.mid * MANY / 1000 > HEAVY_MB
        fails = opened[most].mid < OPEN
        noise = samples.noise("memory_kb")
        if opened[few].mid < OPEN or not (exceeds(each, light, SOME, noise) or fails):
            outcome = Outcome.NOT_SEEN
        elif fails or (heavy and exceeds(each, light, DEAR, noise)):
            outcome = Outcome.HOLDS
        else:
            outcome = Outcome.WITHIN_A_LIMIT
        return Verdict(outcome, " ".join(_sentences(samples, few, most, place)))

    def _most(self, model: str, laboratory: Laboratory) -> Most:
        """Return how many clients there can be. What a child takes, of memory and of time, is measured first."""
        limits = laboratory.machine.limits
        most = most_clients(limits, model)
        if model != PROCESS or most.clients < SAMPLE_CLIENTS:
            return most
        with laboratory.serving(*_flags(model, SAMPLE_CLIENTS)) as server:
            before = server.memory()
            with laboratory.loading(_idle(server, SAMPLE_CLIENTS)) as generation:
                _wait_until_no_more_come(generation, SAMPLE_CLIENTS)
                server.settle()
                used = server.memory().used_bytes - before.used_bytes
                each_s = generation.end().opened_s / SAMPLE_CLIENTS
        most = most_clients(limits, model, each_bytes=CHILD_MARGIN * used / SAMPLE_CLIENTS)
        in_time = Most(int(OPENING_MOST_S / each_s), "the time that it would take")
        return min(most, in_time, key=lambda one: one.clients)


def _idle(server: ServerUnderTest, clients: int) -> Load:
    """Return a load of clients that have one answer and then do nothing, until it is ended."""
    return Load(server.port, 0, HELD_S, warm_up_s=0.0, idle=clients, opening_s=OPENING_S)


def _flags(model: str, clients: int) -> tuple[str, ...]:
    """Return flags that let a server of a model have so many clients and some more."""
    most = str(clients + MORE)
    limits = (
        "--max-children",
        most,
        "--max-connections",
        most,
        "--queue-size",
        most,
        "--no-overload-control",
    )
    return ("--model", model, *limits, "--keep-alive", "1h")


def _wait_until_no_more_come(generation: Generation, clients: int) -> None:
    """Wait until the generator has a connection for each client, or no more come."""
    held, since = 0, time.monotonic()
    while held < clients and time.monotonic() < since + STALLED_S:
        now = sockets_of(generation.pid)
        if now > held:
            held, since = now, time.monotonic()
        time.sleep(LOOK_S)


def _metrics(clients: int, before: Memory, after: Memory, held: LoadOutcome) -> dict[str, float]:
    """Return what connections take of those that are open in the end."""
    metrics = {"open": held.open / clients, "setup_us": held.opened_s * 1e6 / max(1, held.open)}
    left = held.open - held.idle_closed
    if left < clients / 2:
        return metrics
    metrics["memory_kb"] = max(1, after.used_bytes - before.used_bytes) / left / 1000
    metrics["page_tables_kb"] = max(0, after.page_table_bytes - before.page_table_bytes) / left / 1000
    if clients >= KERNEL_FROM:
        kernel_bytes = after.slab_bytes - before.slab_bytes + after.stack_bytes - before.stack_bytes
        if kernel_bytes > 0:  # of the whole machine: something else may have freed more
            metrics["kernel_kb"] = kernel_bytes / left / 1000
    return metrics


def _note(cell: Cell, held: LoadOutcome, last_line: str) -> str:
    """Return what stood in the way, if not all connections were there until the end."""
    remarks = []
    if held.open < cell.place:
        reasons = (
            ", ".join(f"{reason} {count} times" for reason, count in held.failed.items())
            or "no answer in time"
        )
        remarks.append(f"{held.open:,} were opened ({reasons}); the server's log ends with: {last_line}")
    if held.idle_closed:
        remarks.append(f"the server closed {held.idle_closed:,} idle connections to make room")
    return f"{cell.arm} with {cell.place:,.0f} clients: {'; '.join(remarks)}" if remarks else ""


def _sentences(samples: Samples, few: float, most: float, place: float) -> list[str]:
    """Return what few processes take, what many take beside the proactor, and what failed."""
    memory = {arm: dict(samples.curve(arm, "memory_kb")) for arm in (PROCESS, ASYNC)}
    setup = {arm: dict(samples.curve(arm, "setup_us")) for arm in (PROCESS, ASYNC)}
    each, light = memory[PROCESS][place], memory[ASYNC][place]
    at_few = memory[PROCESS].get(few)
    sentences = []
    if at_few is not None:
        sentences.append(f"{number(few)} processes take {number(at_few.mid * few / 1000)} MB.")
    at = f"At {number(place)} clients a process takes {said(each, 'KB')} for each, {number(each.mid / light.mid)} times"
    sentences.append(f"{at} what the proactor takes, and {_times(setup, place)} to set up.")
    if place < MANY:
        sentences.append(f"{number(MANY)} would take {number(each.mid * MANY / MB)} GB.")
    opened = samples.figure(PROCESS, most, "open")
    if opened is not None and opened.mid < OPEN:
        sentences.append(f"Of {number(most)} processes only {number(opened.mid * most)} could be started.")
    return sentences


def _times(setup: dict[str, dict[float, Figure]], place: float) -> str:
    process, light = (setup[arm].get(place) for arm in (PROCESS, ASYNC))
    if process is None or light is None:
        return "an unknown time"
    return f"{said(process.over(light))} times as long"
