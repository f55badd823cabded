"""An application measured: servers of it started on 127.0.0.1, loaded, and read.

Servers and generator share all processors, as the recommended server will use all of them. The generator takes little
of them if a request takes the server a hundred microseconds or more; if it takes much, this says so.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from halfsync.lab import generating
from halfsync.lab.errors import MeasureError
from halfsync.lab.load import Load
from halfsync.lab.server import serving
from halfsync.lab.steady import failures, steady
from halfsync.lab.tune.candidates import Candidate
from halfsync.lab.tune.tuning import Score
from halfsync.lab.tune.turns import Throughput

if TYPE_CHECKING:
    from halfsync.lab.generating import Generation
    from halfsync.lab.load import Outcome
    from halfsync.lab.machine import Machine
    from halfsync.lab.server import ServerUnderTest

ALONE_S = 1.0
WARM_UP_S = 0.4
COOL_DOWN_MOST_S = 1.0
CONNECTIONS = 64
"""Clients that keep their connections; more come if they all wait."""
MORE_MOST = 4000
CLOSED_MOST = 4096
LONG_S = 0.1
"""Answers that take longer are few in the time of a measurement."""
MEMORY_SHARE = 0.5
"""How much of the memory that is free the recommended processes may take."""
METRICS_S = 5.0
TURNS = "halfsync_application_seconds"


class Measuring:
    """The bench of one application. Used by the main thread.

    flags: of `halfsync serve`, besides those that are tried. supervised: even one process has a supervisor, as hooks
    need one. `busiest` is the largest share of a processor that the generator has used.
    """

    def __init__(
        self,
        target: str,
        paths: Sequence[str],
        machine: Machine,
        *,
        flags: Sequence[str] = (),
        supervised: bool = False,
    ) -> None:
        self.processors = machine.processors
        self.busiest = 0.0
        self._target = target
        self._paths = tuple((path, 1.0) for path in paths)
        self._limits = machine.limits
        self._flags = flags
        self._supervised = supervised
        self._process_bytes = 1

    def loading(self, load: Load) -> AbstractContextManager[Generation]:
        """Start a load on any processor."""
        return generating.started(load)

    def alone(self) -> tuple[float, float]:
        """Return what a request takes that is alone in a server: the turn, and the processor. Raises MeasureError."""
        with tempfile.TemporaryDirectory(prefix="halfsync-tune-") as folder:
            admin = Path(folder) / "admin"
            with self._serving(Candidate(threads=1), "--admin-bind", f"unix:{admin}") as server:
                self._warm(server)
                before, used = turns(admin), server.cost()
                generating.run(replace(self._load(server, 1, ALONE_S), warm_up_s=0.0))
                after, used = turns(admin), server.cost() - used
                memory = server.memory()
        self._process_bytes = max(1, memory.private_bytes + memory.page_table_bytes)
        count = after[1] - before[1]
        if not count:
            raise MeasureError(f"the server counted no turn of the application at {self._named()}")
        return (after[0] - before[0]) / count, used.cpu_s / count

    def saturated(self, candidate: Candidate, seconds: float, patience_s: float) -> Throughput:
        """Return what settings can do, with twice as many clients as threads. Raises MeasureError.

        If turns are long, the rate is that of Little's law, clients by the mean time that each waits: it does not
        matter then how many turns happen to end within the time.
        """
        clients = min(2 * candidate.workers * candidate.threads, CLOSED_MOST, self._limits.connections)
        with self._serving(candidate, "--no-overload-control") as server:
            load = replace(self._load(server, clients, seconds), patience_s=patience_s)
            found = steady(self, server, load)
        outcome = found.outcome
        self._note(outcome)
        mean_s = outcome.latencies.mean_s
        is_long = outcome.answered == outcome.due and mean_s > LONG_S
        rate = clients / mean_s if is_long else outcome.rate
        return Throughput(candidate.threads, rate, found.cpu)

    def goodput(self, candidate: Candidate, rate: float, seconds: float, patience_s: float) -> Score:
        """Return what settings are worth under a load. Raises MeasureError."""
        more = min(MORE_MOST, int(rate * patience_s) + CONNECTIONS, self._limits.connections - CONNECTIONS)
        with self._serving(candidate) as server:
            load = Load(
                server.port,
                CONNECTIONS,
                seconds,
                warm_up_s=min(2.0, max(WARM_UP_S, patience_s)),
                rate=rate,
                paths=self._paths,
                patience_s=patience_s,
                more=more,
                cool_down_s=min(COOL_DOWN_MOST_S, patience_s),
            )
            outcome = generating.run(load)
        if not outcome.due:
            raise MeasureError("no request was due")
        self._note(outcome)
        return Score(outcome.rate, outcome.latencies.at.get("99", patience_s))

    def most_workers(self) -> int:
        """Return for how many processes there is memory."""
        return int(self._limits.memory * MEMORY_SHARE / self._process_bytes)

    @contextmanager
    def _serving(self, candidate: Candidate, *more: str) -> Iterator[ServerUnderTest]:
        flags = [*self._flags, *candidate.flags, *more]
        if self._supervised and candidate.workers == 1:
            flags += ["--workers", "1"]
        # A file of settings that is in the working directory would change what is tried.
        with (
            tempfile.NamedTemporaryFile(prefix="halfsync-tune-", suffix=".toml") as empty,
            serving(self._target, *flags, "--config", empty.name) as server,
        ):
            yield server

    def _load(self, server: ServerUnderTest, clients: int, seconds: float) -> Load:
        return Load(server.port, clients, seconds, warm_up_s=WARM_UP_S, paths=self._paths)

    def _warm(self, server: ServerUnderTest) -> None:
        """Ask for each path some times. Raises MeasureError if it is not answered with a success."""
        for path in self._paths:
            load = Load(server.port, 1, WARM_UP_S, warm_up_s=0.0, paths=(path,))
            outcome = generating.run(load)
            if not outcome.answered or outcome.errors:
                raise MeasureError(f"GET {path[0]} is not answered with a success: {failures(outcome)}")

    def _note(self, outcome: Outcome) -> None:
        self.busiest = max(self.busiest, outcome.busy)

    def _named(self) -> str:
        return ", ".join(path for path, _ in self._paths)


def turns(admin: Path) -> tuple[float, int]:
    """Return how many seconds turns of the application have taken so far, and how many there were.

    admin: the socket of the server's `admin_bind`. Raises MeasureError.
    """
    values = dict.fromkeys((f"{TURNS}_sum", f"{TURNS}_count"), "")
    for line in _metrics(admin).splitlines():
        name, _, value = line.partition(" ")
        if name in values:
            values[name] = value
    total, count = values.values()
    try:
        return float(total), int(float(count))
    except ValueError:
        raise MeasureError("the server's metrics do not say how long turns of the application took") from None


def _metrics(admin: Path) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(METRICS_S)
        try:
            connection.connect(str(admin))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            pieces = []
            while piece := connection.recv(1 << 16):
                pieces.append(piece)
        except OSError as error:
            raise MeasureError(f"the server does not say its metrics: {error}") from None
    return b"".join(pieces).decode("ascii", "replace")
