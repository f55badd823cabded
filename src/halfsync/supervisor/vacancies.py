"""Which serving processes are missing, and which number and place each new one gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.supervisor.actions import Start
from halfsync.supervisor.children import ProcessPhase, in_phases

if TYPE_CHECKING:
    from collections.abc import Collection

    from halfsync.supervisor.children import Child
    from halfsync.supervisor.generations import Generations

CROWD = 4  # most processes for each one wanted, with those that leave, which may take long


def find_missing(children: Collection[Child], generations: Generations, wanted: int) -> list[int]:
    """Return the generation of each process to start, as soon as a start is allowed."""
    ready = in_phases(children, ProcessPhase.READY)
    booting = [child.generation for child in in_phases(children, ProcessPhase.BOOTING)]
    ours, base = booting.count(generations.target), booting.count(generations.base)
    if generations.is_proven:
        lacking = wanted - ours - sum(map(generations.is_good, ready))
        serving = len(ready) + ours
        beside = 1 if serving >= wanted and not ours else wanted - serving
        missing = [generations.target] * max(0, min(lacking, beside))
    else:  # the first process shows whether the generation can start
        serving = len(ready) + (base if generations.has_deputies else ours)
        deputies = max(0, wanted - serving) if generations.has_deputies else 0
        missing = [generations.base] * deputies + [generations.target] * (not ours)
    room = CROWD * wanted + 1 - len(children)
    return missing[: max(room, int(not serving))]  # if none serves or will, one may always start


def find_starts(children: Collection[Child], generations: Generations, wanted: int) -> list[Start]:
    """Return the starts of all missing processes."""
    used = {child.number for child in children}
    held: dict[int, set[int]] = {}
    starts: list[Start] = []
    for generation in find_missing(children, generations, wanted):
        places = held.setdefault(generation, held_places(children, generation))
        starts.append(Start(_take_free(used), _take_free(places), generation))
    return starts


def held_places(children: Collection[Child], generation: int) -> set[int]:
    """Return the places of a generation that are taken. A process to be recycled leaves its place to another."""
    starting_or_serving = in_phases(children, ProcessPhase.BOOTING, ProcessPhase.READY)
    return {
        child.place
        for child in starting_or_serving
        if child.generation == generation and not child.recycle_reason
    }


def _take_free(taken: set[int]) -> int:
    """Return the lowest number from 1 that is not taken, and take it."""
    number = next(number for number in range(1, len(taken) + 2) if number not in taken)
    taken.add(number)
    return number
