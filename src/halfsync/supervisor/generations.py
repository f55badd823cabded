"""The generations of serving processes: each start or reload begins one.

A generation **counts** when its first process is ready. Until then nothing of it is used. If its first process cannot
start, the fleet goes back to the generation that counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from halfsync.supervisor.children import Child


class Generations:
    """Which generations a fleet has. Owned by the fleet.

    target: the one that all processes should belong to. proven: the newest of which a process has been ready; 0: none.
    settled: the newest that has been complete; 0: none.
    """

    def __init__(self) -> None:
        self.target = 1
        self.proven = 0
        self.settled = 0
        self._newest = 1  # the last one that was begun: numbers are not reused
        self._oldest = 1  # processes of older ones leave at once

    @property
    def base(self) -> int:
        """The generation that counts; the first, if none counts yet."""
        return self.proven or 1

    @property
    def is_proven(self) -> bool:
        """Whether the target counts."""
        return self.proven >= self.target

    @property
    def is_settled(self) -> bool:
        """Whether the last reload is over: it is complete, or there is none."""
        return self.settled >= self.target

    @property
    def has_deputies(self) -> bool:
        """Whether processes of the generation that counts are started while the target does not count."""
        return self._oldest <= self.proven < self.target

    def begin(self, *, at_once: bool) -> int:
        """Begin another generation, and return its number. at_once: processes of older ones leave at once."""
        self._newest += 1
        self.target = self._newest
        if at_once:
            self._oldest = self.target
        return self.target

    def go_back(self) -> int:
        """Give up the target, which does not count, and return its number."""
        abandoned, self.target = self.target, self.base
        self._oldest = min(self._oldest, self.target)
        return abandoned

    def is_outdated(self, child: Child) -> bool:
        """Return whether a process must leave at once."""
        return child.generation < self._oldest

    def is_deputy(self, child: Child) -> bool:
        """Return whether a process fills in until the target counts."""
        return self.has_deputies and child.generation == self.proven

    def is_needed(self, child: Child) -> bool:
        """Return whether a process that starts is one of those that should serve."""
        return child.generation == self.target or self.is_deputy(child)

    def is_good(self, child: Child) -> bool:
        """Return whether a process that serves needs no replacement."""
        return child.generation == self.target and not child.recycle_reason
