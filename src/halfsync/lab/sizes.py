"""How many clients a model can have at one time within the limits of a machine, and what stands in the way. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfsync.lab.experiment import Cell
from halfsync.lab.judging import number

if TYPE_CHECKING:
    from halfsync.lab.machine import Limits

CHILD_BYTES = 2_000_000
"""What a child of the model `process` takes at most, with its page tables."""
THREAD_BYTES = 150_000
"""What a thread with its connection takes at most, in the process and in the kernel."""
CONNECTION_BYTES = 50_000
"""What a connection takes at most, with its sockets at both ends."""
MEMORY_SHARE = 0.5
"""How much of the memory may be taken."""
SPARE_PIDS = 200
"""Processes and threads that are left to others."""


@dataclass(frozen=True, slots=True)
class Most:
    """The largest number of clients, and the limit that stands in the way of more."""

    clients: int
    reason: str


def most_clients(limits: Limits, model: str, each_bytes: float | None = None) -> Most:
    """Return how many clients a server of a model, and the load generator, can have at one time.

    each_bytes: what the server takes for each, if it is known.
    """
    if each_bytes is None:
        each_bytes = {"process": CHILD_BYTES, "thread": THREAD_BYTES}.get(model, 0)
    each_bytes += CONNECTION_BYTES
    known = [
        Most(limits.connections, "descriptors and ports"),
        Most(int(limits.memory * MEMORY_SHARE / each_bytes), "memory"),
    ]
    if model in ("process", "thread") and limits.pids is not None:
        known.append(Most(limits.pids - SPARE_PIDS, "the number of processes and threads"))
    return min(known, key=lambda each: each.clients)


def grid(
    models: Sequence[str], wanted: Sequence[int], most: Callable[[str], Most]
) -> tuple[list[Cell], list[str]]:
    """Return each model at each number of clients that is possible for it, and notes on those that are not."""
    cells: list[Cell] = []
    notes: list[str] = []
    for model in models:
        possible, note = within(wanted, most(model), model)
        cells += [Cell(model, clients) for clients in possible]
        notes += note
    return cells, notes


def within(wanted: Sequence[int], most: Most, what: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the numbers of clients that are possible, and notes on those that are not.

    The largest that is possible stands in for those that are not. what: whose clients they are, for the notes.
    """
    largest = max(1, most.clients)
    possible = tuple(dict.fromkeys(min(clients, largest) for clients in wanted))
    if possible == tuple(wanted):
        return possible, ()
    more = number(max(wanted))
    return possible, (f"{what}: {number(largest)} clients instead of {more}, because of {most.reason}",)
