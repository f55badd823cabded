"""What the fleet keeps of a serving process: its place, its generation, and what it is doing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

KILL_AFTER_S = 3.0  # extra time for a process to end, beyond the time that it was given


class ProcessPhase(Enum):
    """What a serving process is doing."""

    BOOTING = "starting"
    READY = "serving"
    HANDING_OFF = "handing off"  # it hands its idle connections off, and finishes what runs
    RECALLED = "recalled"  # it was ordered to end while it started, and may just have begun to serve
    ENDING = "ending"  # it ends together with all others
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """The settings of a generation that the fleet needs, by the names of the settings. Times are seconds."""

    workers: int
    boot_timeout: float
    graceful_timeout: float
    drain_delay: float


@dataclass(slots=True)
class Child:
    """A serving process, with the settings of its generation.

    number: from 1, unique among living processes. place: from 1 to the wanted number. The process that replaces it has
    the same place, so that for a time two processes have that place.
    """

    number: int
    place: int
    pid: int
    generation: int
    began: float
    fleet_settings: FleetSettings
    due: float  # deadline for what it is doing
    phase: ProcessPhase = ProcessPhase.BOOTING
    ready_at: float = math.inf
    recycle_reason: str = ""  # why it must be replaced
    recycle_cause: str = ""  # the same, as metrics name it
    quiesced: bool = False  # it takes no more new requests
    stands_in: bool = False  # it serves the reason why the application cannot be loaded

    @property
    def grace(self) -> float:
        """How many seconds it has to finish what it received. It knows only its own settings."""
        return self.fleet_settings.graceful_timeout + KILL_AFTER_S


def in_phases(children: Iterable[Child], *phases: ProcessPhase) -> list[Child]:
    """Return the processes in these phases."""
    return [child for child in children if child.phase in phases]
