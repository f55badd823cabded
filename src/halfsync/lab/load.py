"""A load, and what became of it: the records that go to the load generator and come back from it. No I/O.

The generator is a process of its own (`generating` starts it, `generator` is what runs in it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OWN = "generator: "


@dataclass(frozen=True, slots=True)
class Load:
    """What to send to a port of 127.0.0.1, from `connections` clients at one time, and for how long.

    `rate` is in requests per second: an open loop, in which each request is sent at its time whatever became of those
    before it, and waits for a connection if all are in use. Its arrivals are those of a Poisson process with `seed`,
    or evenly spaced with `even`. Without a rate it is a closed loop: each client sends its next request after its
    answer.

    It lasts `warm_up_s`, whose requests do not count, then `duration_s`, and then `cool_down_s`, whose requests do not
    count either: a server that serves the newest first would do more of those that count if none came after them. Then
    answers are awaited for up to `grace_s`, or for as long as the patience of the clients lasts. The connections are
    opened before all this, for at most `opening_s`. `paths` are requested with their weights, in an order that the
    seed gives. `fresh`: a connection for each request. `patience_s`: a client that has waited for so long leaves, by
    closing its connection; `more` is up to how many further connections are opened for requests that are due while
    all others are in use. `idle` connections send one request at the start and then nothing. `slow` clients send a
    byte of their head every `slow_s` seconds, and never finish; one whose connection is closed comes again.
    `body_bytes` > 0 makes the requests POST.
    """

    port: int
    connections: int
    duration_s: float
    warm_up_s: float = 0.5
    rate: float | None = None
    even: bool = False
    paths: tuple[tuple[str, float], ...] = (("/", 1.0),)
    body_bytes: int = 0
    fresh: bool = False
    patience_s: float | None = None
    more: int = 0
    idle: int = 0
    slow: int = 0
    slow_s: float = 1.0
    seed: int = 1
    grace_s: float = 5.0
    cool_down_s: float = 0.0
    opening_s: float = 30.0

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be sent; the text says why."""
        counts = (self.connections, self.more, self.idle, self.slow, self.body_bytes)
        rules = {
            f"port is {self.port}, which must be from 1 to 65535": 0 < self.port < 65536,
            f"a number of clients or bytes is below 0: {counts}": min(counts) >= 0,
            f"duration_s is {self.duration_s}, which must be above 0": self.duration_s > 0,
            f"slow_s is {self.slow_s}, which must be above 0": self.slow_s > 0,
            f"rate is {self.rate}, which must be above 0": self.rate is None or self.rate > 0,
            "an open loop needs a connection": self.rate is None or self.connections + self.more > 0,
            "more is for an open loop: give a rate": self.rate is not None or not self.more,
            f"patience_s is {self.patience_s}, which must be above 0": self.patience_s is None
            or self.patience_s > 0,
            f"paths is {self.paths}: each needs a weight above 0 and must begin with /": bool(self.paths)
            and all(share > 0 and _is_target(path) for path, share in self.paths),
        }
        for fault, is_kept in rules.items():
            if not is_kept:
                raise ValueError(f"no such load can be sent: {fault}")


def _is_target(path: str) -> bool:
    """Return whether a path can stand in a request line."""
    return path.startswith("/") and path.isascii() and path.isprintable() and " " not in path


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long answers took, in seconds, from an HDR histogram of three significant digits."""

    count: int
    mean_s: float
    max_s: float
    at: Mapping[str, float] = field(default_factory=dict)
    """The quantiles by their names: "50", "90", "99", "99.9"."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a load, in the time that counts, `elapsed_s`.

    `due` are the requests that were to be sent in that time. Each has one outcome, which may come later. `answered` are
    responses with a status below 400, `refused` those with 503, `errors` all others. `left`: a client gave up.
    `failed`: connections that could not be opened or that ended without an answer, by reason; of these, `unopened` were
    connections that were to be there before the first request. `unsent`: requests of an open loop that were due and for
    which no connection was free until the end. Reasons that begin with OWN are limits of the generator.

    `latencies` count from the time at which a request was meant to be sent, `uncorrected` from the time at which it
    was sent. In a closed loop they are the same. `late_s` is by how much the generator itself was late, at the 99th
    percentile, and `busy` the share of one processor that it used: `bottleneck` says in words that it was the limit,
    or is empty. `opened_s` is how long it took to open the connections; `open` how many were open at the end of it.
    """

    elapsed_s: float
    answered: int
    refused: int
    errors: int
    left: int
    failed: Mapping[str, int]
    unsent: int
    received_bytes: int
    latencies: Latencies
    uncorrected: Latencies
    late_s: float
    busy: float
    bottleneck: str
    opened_s: float
    open: int
    due: int = 0
    unopened: int = 0
    idle_closed: int = 0
    came_again: int = 0
    sent_again: int = 0

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answered / self.elapsed_s
