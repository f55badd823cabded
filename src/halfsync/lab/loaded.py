"""What a load costs a server, for each answer: from its start until the server rests again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from halfsync.lab.errors import MeasureError
from halfsync.lab.steady import failures

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.load import Load, Outcome

WARM_UP_S = 0.2
"""A load of its own before the one that counts: caches, and what a server makes at its first requests."""
ANY_PORT = 1
"""The port of a load for a server that has yet to start: it stands for that server's."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a load; the CPU of its server for each answer, in µs; the voluntary switches for each answer.

    A thread that waits gives its processor up: that is a voluntary switch.
    """

    outcome: Outcome
    cpu_us: float
    switches: float


def loaded(
    laboratory: Laboratory, load: Load, *flags: str, environment: Mapping[str, str] | None = None
) -> Loaded:
    """Start a server, warm it up, load it, and end it. Flags and variables are those of `Laboratory.serving`.

    The load's port is that of the server, and its own warm-up is replaced by a short load before it, so that all of it
    counts. Raises MeasureError if nothing was answered.
    """
    with laboratory.serving(*flags, environment=environment) as server:
        load = replace(load, port=server.port, warm_up_s=0.0, cool_down_s=0.0)
        at_start = server.cost()
        warm_up = laboratory.load(replace(load, duration_s=WARM_UP_S))
        server.settle()
        before = server.cost()
        outcome = laboratory.load(load)
        server.settle()
        cost = server.cost() - before
    if not outcome.answered:
        raise MeasureError(f"no request was answered: {failures(outcome)}")
    if server.ended is None:
        raise MeasureError("the server's end was not seen")
    # The switches of threads and children that have ended are known only when the server has ended.
    switched = server.ended.voluntary - at_start.voluntary
    return Loaded(
        outcome, cost.cpu_s * 1e6 / outcome.answered, switched / (warm_up.answered + outcome.answered)
    )
