"""Settings that may be good for an application, from what its requests take. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from halfsync.lab.tune.scalability import Scalability, in_service
from halfsync.lab.tune.turns import Turn

SERIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Numbers of threads that are tried."""
AROUND = (0.5, 1.0, 2.0, 4.0)
"""How many threads are tried, in units of those that are busy by Little's law: turns take longer under load."""
MODELS = ("proactor", "pool")
"""By what they hold against bad clients, which a measurement on one machine does not show. The models `thread` and
`process` are not tried: nothing bounds the work that they begin, so that past their capacity no answer is in time."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings of a server that are tried. The defaults are those of `halfsync serve`."""

    model: str = "proactor"
    workers: int = 1
    threads: int = 4
    queue_size: int = 2048

    def __str__(self) -> str:
        processes = "1 process" if self.workers == 1 else f"{self.workers} processes"
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        queue = "" if self.queue_size == DEFAULT_QUEUE else f", queue_size {self.queue_size}"
        return f"{self.model}, {processes} of {threads}{queue}"

    @property
    def flags(self) -> tuple[str, ...]:
        """The settings as flags of `halfsync serve`. One process is one without a supervisor, as by default."""
        flags = ["--model", self.model, "--threads", str(self.threads), "--queue-size", str(self.queue_size)]
        if self.workers > 1:
            flags += ["--workers", str(self.workers)]
        return tuple(flags)

    @property
    def preference(self) -> tuple[int, int, bool, int, int]:
        """What comes first among settings that are equally good.

        A model that slow clients cannot hurt; fewer processes, which need less memory; no fewer threads than by
        default, so that one slow request does not hold the others; then fewer threads, and the shorter queue.
        """
        few = self.threads < DEFAULT_THREADS
        return (
            MODELS.index(self.model),
            self.workers,
            few,
            -self.threads if few else self.threads,
            self.queue_size,
        )


DEFAULT = Candidate()
DEFAULT_THREADS = DEFAULT.threads
DEFAULT_QUEUE = DEFAULT.queue_size


@dataclass(frozen=True, slots=True)
class Capacity:
    """What limits an application on a machine: what a request takes, how threads scale, and the processors."""

    turn: Turn
    law: Scalability
    processors: int

    @property
    def most(self) -> float:
        """Requests per second that all processors can do."""
        return self.processors / self.turn.cpu_s

    def rate(self, workers: int, threads: int) -> float:
        """Return requests per second that so many processes can answer, with so many threads each.

        More threads than are best count as the best number: how much they cost is not known so far from what was tried.
        """
        useful = min(threads, max(1.0, self.law.best_threads))
        return min(workers * self.law.rate(useful), self.most)

    def busy_threads(self, workers: int) -> float:
        """Return how many threads of each of so many processes are busy if these do as much as they can."""
        process = min(1 / self.turn.gil_s, self.most / workers)
        return in_service(process, self.turn.wall_s)


def candidates(capacity: Capacity, *, most_workers: int) -> tuple[Candidate, ...]:
    """Return the settings to try, the default first. most_workers: processes for which there is memory."""
    found = [DEFAULT]
    processors = capacity.processors
    for workers in sorted({1, max(1, processors // 2), processors, 2 * processors}):
        if workers > max(1, most_workers):
            continue
        busy = capacity.busy_threads(workers)
        found += [Candidate(workers=workers, threads=nearest(busy * times)) for times in AROUND]
    promising = max(found, key=lambda one: (capacity.rate(one.workers, one.threads), one.threads))
    found += [replace(promising, model=model) for model in MODELS[1:]]
    return tuple(dict.fromkeys(found))


def nearest(threads: float) -> int:
    """Return the number of the series that is nearest, by ratio."""
    return min(SERIES, key=lambda one: abs(math.log(one / max(threads, 0.5))))


def queue_for(rate: float, workers: int, patience_s: float) -> int:
    """Return how many requests may wait in each process, if none needs to wait for longer than its client does.

    By Little's law as many as a process answers in this time; at least 16, for a burst, and at most the default.
    """
    return max(16, min(DEFAULT_QUEUE, math.ceil(in_service(rate / workers, patience_s))))
