"""What the fleet wants done: the supervisor carries out each of these actions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """Fork a process, then call `started` or `not_started`. number and place: as of `Child`."""

    number: int
    place: int
    generation: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Send an order to a process: HAND_OFF, CLOSE_KEEPALIVES, DRAIN or QUIT (orders.py)."""

    pid: int
    what: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall a process that starts: one that still loads ends; one that already serves is ordered to hand off."""

    pid: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a process, and log why. reason: "": nothing is logged."""

    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class Say:
    """Log a line: "info", "warning" or "error"."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The first process of this generation serves: its settings are used from now on."""

    generation: int


@dataclass(frozen=True, slots=True)
class Abandoned:
    """This generation cannot start, and never counted: everything is as before. reason: a sentence about it."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """All processes that take new requests now belong to this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A process of this generation, which does not count yet, ended before it was ready. Another will be started.

    code: its exit code, or minus the signal that killed it. how: the end of a sentence about it.
    """

    generation: int
    code: int
    how: str


@dataclass(frozen=True, slots=True)
class Exit:
    """No process is left: end with this exit code."""

    code: int


Action = Start | Tell | Recall | Kill | Say | Counts | Abandoned | Settled | Failed | Exit
