"""Measured cells, the figures that are made of them, and their medians. Pure: no processes, no files."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from bench.goodput import Goodput, Level
from bench.load import Load
from bench.proc import Cpu, Memory


@dataclass(frozen=True, slots=True)
class Idle:
    """The cost of many idle connections, and the time of a new request beside them.

    `counted` are those open when memory was read, `held` those still open at the end.
    """

    asked: int
    counted: int
    held: int
    grown_bytes: int
    answer_ms: float
    worst_ms: float
    stopped: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One server, one workload, one round. A part that was not measured is None.

    `failure` says why; `skipped` does if the row has no figures for that workload by design.
    """

    server: str
    workload: str
    round: int
    failure: str = ""
    skipped: str = ""
    startup_ms: float | None = None
    load: Load | None = None
    cpu: Cpu | None = None
    memory: Memory | None = None
    idle: Idle | None = None
    goodput: Goodput | None = None
    foreign: float | None = None
    """The share of the server's processor that other processes and the kernel used during the load."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the lowest and the highest."""

    mid: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """The spread of some values, or None of none."""
        known = sorted(values)
        return cls(median(known), known[0], known[-1]) if known else None


Metric = Callable[[Cell], float | None]


def cpu_us(cell: Cell) -> float | None:
    """CPU microseconds per completed request."""
    if cell.cpu is None or cell.load is None or not cell.load.requests:
        return None
    return cell.cpu.clock_s / cell.load.requests * 1e6


def cpu_s_per_gb(cell: Cell) -> float | None:
    """CPU seconds per 10^9 bytes that the client read."""
    if cell.cpu is None or cell.load is None or not cell.load.bytes:
        return None
    return cell.cpu.clock_s / cell.load.bytes * 1e9


def rps(cell: Cell) -> float | None:
    """Requests completed per second."""
    return cell.load.requests / cell.load.seconds if cell.load else None


def mb_per_s(cell: Cell) -> float | None:
    """10^6 bytes read by the client per second."""
    return cell.load.bytes / cell.load.seconds / 1e6 if cell.load else None


def p50_us(cell: Cell) -> float | None:
    """Median latency in microseconds."""
    return cell.load.p50_us if cell.load and cell.load.requests else None


def p99_us(cell: Cell) -> float | None:
    """The latency in microseconds that one request in a hundred exceeds."""
    return cell.load.p99_us if cell.load and cell.load.requests else None


def idle_bytes(cell: Cell) -> float | None:
    """Growth of the server's own memory (its share of pages that are no file's) per idle connection, in bytes."""
    return cell.idle.grown_bytes / cell.idle.counted if cell.idle and cell.idle.counted else None


def counted(cell: Cell) -> float | None:
    """Idle connections open when memory was read."""
    return cell.idle.counted if cell.idle else None


def held(cell: Cell) -> float | None:
    """Idle connections still open at the end."""
    return cell.idle.held if cell.idle else None


def answer_ms(cell: Cell) -> float | None:
    """Median time of a new request on a new connection beside the idle ones."""
    return cell.idle.answer_ms if cell.idle else None


def worst_ms(cell: Cell) -> float | None:
    """The slowest of those new requests."""
    return cell.idle.worst_ms if cell.idle else None


def startup_ms(cell: Cell) -> float | None:
    """From exec to the first answer."""
    return cell.startup_ms


def rss_mb(cell: Cell) -> float | None:
    """Resident memory in 10^6 bytes, summed over the server's processes."""
    return cell.memory.rss_kb * 1024 / 1e6 if cell.memory else None


def pss_mb(cell: Cell) -> float | None:
    """The same with pages that several processes map shared out among them."""
    return cell.memory.pss_kb * 1024 / 1e6 if cell.memory else None


def capacity(cell: Cell) -> float | None:
    """Requests per second that the load was a multiple of."""
    return cell.goodput.capacity if cell.goodput else None


def recovery_s(cell: Cell) -> float | None:
    """Seconds from the fall of the load until answers are fast again; infinity if they were not in time."""
    if cell.goodput is None:
        return None
    return math.inf if cell.goodput.recovery_s is None else cell.goodput.recovery_s


def at_load(figure: Callable[[Level], float | None], load: float) -> Metric:
    """A figure of the requests of one load."""
    return lambda cell: figure(cell.goodput.at(load)) if cell.goodput else None


class Results:
    """All the cells of a run, looked up by workload and server."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells = tuple(cells)

    def of(self, workload: str, *servers: str) -> tuple[Cell, ...]:
        """The cells of one workload and of any of the servers, in the order they were measured."""
        return tuple(cell for cell in self.cells if cell.workload == workload and cell.server in servers)

    def spread(self, metric: Metric, workload: str, *servers: str) -> Spread | None:
        """A metric over the rounds of one workload, the servers taken together."""
        values = (metric(cell) for cell in self.of(workload, *servers))
        return Spread.of(value for value in values if value is not None)

    def mid(self, metric: Metric, workload: str, *servers: str) -> float | None:
        """The median of a metric, or None if nothing was measured."""
        spread = self.spread(metric, workload, *servers)
        return spread.mid if spread else None

    def errors(self, workload: str, server: str) -> tuple[int, int]:
        """Bad statuses and socket errors over all rounds."""
        loads = [cell.load for cell in self.of(workload, server) if cell.load]
        return sum(load.bad_status for load in loads), sum(load.socket_errors for load in loads)

    def failures(self, workload: str, server: str) -> tuple[str, ...]:
        """The different reasons why rounds have no figures."""
        return tuple(dict.fromkeys(cell.failure for cell in self.of(workload, server) if cell.failure))


def ratio(value: float | None, base: float | None) -> float | None:
    """value / base, if there are both."""
    return value / base if value is not None and base else None
