"""What a process copies, and a thread shares: memory, pages and descriptors of N workers."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
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
from halfsync.lab.judging import listed, not_measured, number, said
from halfsync.lab.kernel import pids_of
from halfsync.lab.samples import Figure, figure
from halfsync.lab.sources import FORK_IN_THE_ROAD, OWN_2026, TUTORIAL

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Samples
    from halfsync.lab.server import ServerUnderTest

MEMORY_MB = 64
"""What the application holds, in Python objects."""
MEGABYTE = 1 << 20
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
WORKERS = (1.0, 2.0, 4.0, 8.0)
ONE_PROCESS_MB = MEMORY_MB + 32
THREADS, PROCESSES, FORKED, READING = (
    "threads",
    "processes",
    "processes, preloaded",
    "processes, preloaded, reading",
)
CHILDREN, THREADS_EACH = "a process per connection", "a thread per connection"
HOOK = "halfsync.lab.applications:read_objects"
FLAGS = {
    THREADS: ("--threads", "{n}"),
    PROCESSES: ("--workers", "{n}", "--threads", "1"),
    FORKED: ("--workers", "{n}", "--threads", "1", "--preload"),
    READING: ("--workers", "{n}", "--threads", "1", "--preload", "--post-fork", HOOK),
    CHILDREN: ("--model", "process"),
    THREADS_EACH: ("--model", "thread"),
}
"""The arms, with the server's flags for N workers. The last two have a connection for each."""
MOSTLY = 0.5
"""The share of the application's memory from which on a worker is said to have a copy of it. Typical are 1.0 and more
with a copy, and less than 0.1 without."""
PATIENCE_S = 20.0
REQUEST = b"GET /sleep/50 HTTP/1.1\r\nHost: lab\r\n\r\n"
ANSWER = b"hello\n"


class Sharing(Experiment):
    """Memory, pages and descriptors of N workers, as threads and as processes."""

    name = "sharing"
    title = "What a process copies and a thread shares"
    claim = "A process copies everything of its parent, memory and descriptors; threads share them."
    said_by = TUTORIAL
    method = (
        f"An application that holds {MEMORY_MB} MB in Python objects, served by 1 to 8 workers: threads of one "
        "process; processes that load it themselves; processes forked from one that has loaded it "
        "(--preload); those, if each then only looks at each object, which writes to the object, since "
        "references are counted; a process, and a thread, for each of as many connections. Each worker is "
        "sent a request that takes 50 ms. Memory is the proportional share of all processes of the server "
        "(PSS), which counts a shared page once, with page tables."
    )
    axis = Axis("workers", log=True)
    plots = (
        Plot("Memory of the server", "memory_mb", "PSS with page tables", "MB"),
        Plot(
            "Pages that one process has for itself",
            "private_pages",
            "private pages, of all processes",
            "",
            log=True,
        ),
        Plot("Page tables", "page_tables_mb", "page tables", "MB"),
        Plot("Descriptors of all processes", "descriptors", "open descriptors", ""),
    )
    published = (
        Published("0.8 to 0.9 MB for a forked process, a tenth of that for a thread", OWN_2026),
        Published("fork copies the page tables, and takes longer the larger the parent is", FORK_IN_THE_ROAD),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each arm with as many workers as memory reaches for."""
        free_mb = laboratory.machine.limits.memory / MEGABYTE
        places = [workers for workers in WORKERS if workers * ONE_PROCESS_MB < free_mb / 2]
        notes = () if len(places) == len(WORKERS) else (f"up to {len(places)} workers: memory is short",)
        return Plan(
            tuple(Cell(arm, workers) for workers in places or WORKERS[:1] for arm in FLAGS),
            reference=Cell(FORKED, WORKERS[0]),
            primary="memory_mb",
            duration_s=0.0,
            notes=notes,
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Start so many workers, give each a request, and read what they have."""
        workers = int(cell.place)
        flags = (flag.format(n=workers) for flag in FLAGS[cell.arm])
        environment = {"LAB_OBJECTS_MB": str(MEMORY_MB)}
        with laboratory.serving(*flags, environment=environment) as server, clients(server.port, workers):
            memory = server.memory()
            opened = descriptors(server)
        return Measured(
            {
                "memory_mb": memory.used_bytes / MEGABYTE,
                "private_pages": memory.private_bytes / PAGE_BYTES,
                "page_tables_mb": memory.page_table_bytes / MEGABYTE,
                "descriptors": float(opened),
            }
        )

    def judge(self, samples: Samples) -> Verdict:
        """Say which workers have a copy of the application's memory."""
        costs = {arm: per_worker(samples, arm, "memory_mb") for arm in FLAGS}
        threads, processes = costs[THREADS], costs[PROCESSES]
        forked = [cost for cost in (costs[FORKED], costs[CHILDREN]) if cost is not None]
        if threads is None or processes is None or not forked:
            return not_measured("Several threads, processes and forked processes were")
        copies = MOSTLY * MEMORY_MB
        if threads.mid >= copies or processes.mid < copies:
            outcome = Outcome.NOT_SEEN
        else:
            all_copy = min(cost.mid for cost in forked) >= copies
            outcome = Outcome.HOLDS if all_copy else Outcome.WITHIN_A_LIMIT
        return Verdict(outcome, _sentence(samples, costs))


def per_worker(samples: Samples, arm: str, metric: str) -> Figure | None:
    """Return what each worker after the first adds, from the fewest workers to the most; None with less than two."""
    places = [place for place, _ in samples.curve(arm, metric)]
    if len(places) < 2:
        return None
    few, many = places[0], places[-1]
    ends = zip(samples.values(arm, few, metric), samples.values(arm, many, metric), strict=False)
    return figure((most - least) / (many - few) for least, most in ends)


def _sentence(samples: Samples, costs: dict[str, Figure | None]) -> str:
    known = {
        THREADS: "as a thread",
        PROCESSES: "as a process that loads for itself",
        FORKED: "forked from one that has loaded",
        READING: "forked, if it only looks at all objects",
        CHILDREN: "as a child for a connection",
    }
    parts = [
        f"{said(cost, 'MB')} {known[arm]}" for arm, cost in costs.items() if cost is not None and arm in known
    ]
    text = f"Beside an application of {number(MEMORY_MB)} MB, each further worker takes {listed(parts)}."
    added = [per_worker(samples, arm, "descriptors") for arm in (THREADS, FORKED)]
    if added[0] is not None and added[1] is not None:
        text += f" Open descriptors: {said(added[0])} more for a thread, {said(added[1])} more for a forked process."
    return text


@contextmanager
def clients(port: int, number_of: int) -> Iterator[None]:
    """Be so many clients at one time, each of which has had an answer and stays connected. Raises MeasureError."""
    with ExitStack() as stack:
        try:
            sockets = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), PATIENCE_S))
                for _ in range(number_of)
            ]
            for each in sockets:
                each.sendall(REQUEST)
            for each in sockets:
                _await_answer(each)
        except OSError as error:
            raise MeasureError(f"a client had no answer: {error}") from error
        yield


def _await_answer(client: socket.socket) -> None:
    received = b""
    while not received.endswith(ANSWER):
        block = client.recv(4096)
        if not block:
            raise MeasureError(f"the server closed a connection after {received[:80]!r}")
        received += block


def descriptors(server: ServerUnderTest) -> int:
    """Return how many descriptors all processes of a server have open."""
    opened = 0
    for pid in pids_of(server.session):
        with suppress(OSError):
            opened += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return opened
