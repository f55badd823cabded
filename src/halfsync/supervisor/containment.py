"""The one place that catches unexpected errors in the supervisor's loop: they must not end a fleet that serves.

Expected errors are handled where they occur. This is for the rest: a file system that goes away, a shortage of memory,
a bug of ours. The error is logged with its traceback, and the loop goes on with the next step. What was not done is
tried again after a pause.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from halfsync.log import logger
from halfsync.runtime.forking import end_forked, unblock
from halfsync.runtime.originals import monotonic, os
from halfsync.supervisor.backoff import Backoff

if TYPE_CHECKING:
    from types import TracebackType


class Containment:
    """The steps of one loop. ``due``: when the next turn must begin, if a step of this or the last turn failed."""

    def __init__(self) -> None:
        self.due = math.inf
        self._process = os.getpid()
        self._backoff = Backoff()  # of turns in a row in which a step failed
        self._failed: set[tuple[str, type[BaseException]]] = set()  # in this turn
        self._logged: set[tuple[str, type[BaseException]]] = set()  # in this row of turns

    def step(self, what: str) -> Step:
        """Return a context manager for a step, which logs and suppresses an `Exception`.

        what: a noun that begins the log line. If a process that was forked in the step raises in it, that process ends.
        """
        return Step(self, what)

    def end_turn(self) -> None:
        """End a turn. If a step failed, set the pause before the next one; it doubles with each such turn in a row."""
        if self._failed:
            unblock()  # a fork that failed half-way may have left the supervisor's signals blocked
            self._failed.clear()
            self.due = monotonic() + self._backoff.fail()
        else:
            self._backoff.reset()
            self.due = math.inf
            self._logged.clear()

    def contain(self, what: str, error: BaseException) -> bool:
        """Log what a step raised, once in a row of turns. Returns False if it must end this process."""
        if os.getpid() != self._process:
            end_forked(error)
        if not isinstance(error, Exception):
            return False
        kind = what, type(error)
        self._failed.add(kind)
        self.due = min(
            self.due, monotonic() + self._backoff.next_pause
        )  # the rest of this turn may wait, too
        if kind in self._logged:
            return True
        self._logged.add(kind)
        with suppress(Exception):  # there is no other way to report it
            said = str(error)
            logger().error(
                "%s failed: %s%s; the server keeps running",
                *(what, type(error).__name__, f": {said}" if said else ""),
                exc_info=(type(error), error, error.__traceback__),
            )
        return True


class Step:
    """One step, as a context manager. ``failed``: whether it raised an error."""

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
