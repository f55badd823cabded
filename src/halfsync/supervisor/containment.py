"""The one place where what a step of the supervisor's loop raises comes to rest: it must not end a fleet that serves.

What is expected is dealt with where it is expected. This is for the rest: a file system that goes away, memory that is
short, a mistake of ours. Such a step is logged with its traceback, and the loop goes on with the next; what was not
done is tried again after a pause.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from halfsync.forking import end_forked, unblock
from halfsync.log import logger
from halfsync.originals import monotonic, os
from halfsync.supervisor.fleet import FAILURES_MOST, pause

if TYPE_CHECKING:
    from types import TracebackType


class Containment:
    """The steps of one loop. ``due`` is when another turn must begin because a step of this one failed."""

    def __init__(self) -> None:
        self.due = math.inf
        self._process = os.getpid()
        self._turns = 0  # in a row, in which something failed
        self._failed: set[tuple[str, type[BaseException]]] = set()  # in this turn
        self._logged: set[tuple[str, type[BaseException]]] = set()  # in this row of turns

    def step(self, what: str) -> Step:
        """Return a context manager for a step: an `Exception` is logged, and goes no further.

        what: a noun, which begins the line of the log. A process that is forked in a step, and fails in it, ends.
        """
        return Step(self, what)

    def end_turn(self) -> None:
        """Begin the next turn: the pause before it doubles with each in a row that failed."""
        if self._failed:
            unblock()  # a fork that failed half-way may have left signals blocked
            self._turns = min(self._turns + 1, FAILURES_MOST)
            self._failed.clear()
            self.due = monotonic() + pause(self._turns)
        else:
            self._turns, self.due = 0, math.inf
            self._logged.clear()

    def contain(self, what: str, error: BaseException) -> bool:
        """Log what a step raised, once in a row of turns. Returns False for what must end this process."""
        if os.getpid() != self._process:
            end_forked(error)
        if not isinstance(error, Exception):
            return False
        kind = what, type(error)
        self._failed.add(kind)
        if kind in self._logged:
            return True
        self._logged.add(kind)
        with suppress(Exception):  # there is nothing left to tell it with
            said = str(error)
            logger().error(
                "%s failed: %s%s; the server goes on",
                *(what, type(error).__name__, f": {said}" if said else ""),
                exc_info=(type(error), error, error.__traceback__),
            )
        return True


class Step:
    """One step, as a context manager. ``failed`` tells afterwards whether it raised something."""

    def __init__(self, containment: Containment, what: str) -> None:
        self._containment = containment
        self._what = what
        self.failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.failed = error is not None
        return error is not None and self._containment.contain(self._what, error)
