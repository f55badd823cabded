"""What a server costs while it serves: without what it costs to open and to close the connections.

A load's connections are opened before its time begins, and a server may be at it for seconds: a process for each of a
thousand clients. So clients are first held idle, which shows how long that takes, and what a connection takes of
memory. Then the costs are read between two moments of a load, and set against the rate of its answers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Protocol

from halfsync.lab import kernel
from halfsync.lab.errors import MeasureError
from halfsync.lab.load import Load
from halfsync.lab.server import HOST

if TYPE_CHECKING:
    from halfsync.lab.generating import Generation
    from halfsync.lab.load import Outcome
    from halfsync.lab.server import ServerUnderTest

LOOK_S = 0.02
WARM_CONNECTIONS, WARM_REQUESTS = 8, 10
WARM_S = 30.0
"""How long one of the first requests may take."""
OPENING_S = 20.0
"""How long it may take to open the connections."""
MARGIN_S = 0.1
"""The costs are read so long before the end of a load."""


class Loads(Protocol):
    """What starts a load: a laboratory."""

    def loading(self, load: Load) -> AbstractContextManager[Generation]:
        """Start a load, to do other things while it runs."""


@dataclass(frozen=True, slots=True)
class Steady:
    """What became of a load, and what share of a processor the server used while it was served."""

    outcome: Outcome
    cpu: float

    @property
    def cpu_us(self) -> float:
        """CPU for each answer, in µs."""
        return self.cpu * 1e6 / self.outcome.rate


def warm(server: ServerUnderTest, path: str) -> None:
    """Send some requests, so that what a server makes at its first ones is made. Raises MeasureError."""
    for _ in range(WARM_CONNECTIONS):
        connection = HTTPConnection(HOST, server.port, timeout=WARM_S)
        try:
            for _ in range(WARM_REQUESTS):
                connection.request("GET", path)
                connection.getresponse().read()
        except (OSError, HTTPException) as error:
            raise MeasureError(f"a first request for {path} had no answer: {error!r}") from None
        finally:
            connection.close()


@contextmanager
def holding(laboratory: Loads, server: ServerUnderTest, clients: int, path: str) -> Iterator[float]:
    """Hold connections of idle clients, each of which has had an answer, and give how long it took to open them.

    Raises MeasureError if they could not be opened.
    """
    load = Load(server.port, 0, OPENING_S, idle=clients, paths=((path, 1.0),), opening_s=OPENING_S)
    began = time.monotonic()
    with laboratory.loading(load) as generation:
        wait_until_open(generation, clients)
        server.settle()
        yield time.monotonic() - began


def wait_until_open(generation: Generation, clients: int) -> None:
    """Wait until the generator has a socket for each client. Raises MeasureError if that takes too long."""
    deadline = time.monotonic() + OPENING_S
    while time.monotonic() < deadline:
        if sockets_of(generation.pid, clients) >= clients:
            return
        if kernel.has_ended(generation.pid):
            generation.wait()  # which says why, if it failed
            raise MeasureError(f"the load ended before {clients} connections were open")
        time.sleep(LOOK_S)
    raise MeasureError(f"{clients} connections were not open within {OPENING_S:.0f} s")


def sockets_of(pid: int, least: int = 0) -> int:
    """Return how many sockets a process has; 0 if it has fewer descriptors than `least`, which is quicker to see."""
    folder = f"/proc/{pid}/fd"
    count = 0
    try:
        descriptors = os.listdir(folder)  # noqa: PTH208 - ten times as fast as with Path
        if len(descriptors) >= least:
            for descriptor in descriptors:
                with suppress(OSError):  # closed since
                    count += os.readlink(f"{folder}/{descriptor}").startswith("socket:")  # noqa: PTH115 - likewise
    except OSError:
        return 0  # the process has ended
    return count


def steady(laboratory: Loads, server: ServerUnderTest, load: Load) -> Steady:
    """Load a server, and read what it costs while it serves. Raises MeasureError if nothing was answered."""
    found = watched(laboratory, server, load)
    if not found.outcome.answered:
        raise MeasureError(f"no request was answered: {failures(found.outcome)}")
    return found


def watched(laboratory: Loads, server: ServerUnderTest, load: Load) -> Steady:
    """Do the same, also if nothing is answered, as under a load that is too much. Raises MeasureError."""
    with laboratory.loading(load) as generation:
        wait_until_open(generation, load.connections + load.idle + load.slow)
        time.sleep(load.warm_up_s)
        before, began = server.cost(), time.monotonic()
        time.sleep(max(0.0, load.duration_s - MARGIN_S))
        used, took_s = server.cost() - before, time.monotonic() - began
        return Steady(generation.wait(), used.cpu_s / took_s)


def failures(outcome: Outcome) -> str:
    """Return in words what became of the requests that were not answered."""
    found = {"refused": outcome.refused, "errors": outcome.errors, **outcome.failed, "unsent": outcome.unsent}
    return ", ".join(f"{reason} {count}" for reason, count in found.items() if count) or "none was sent"
