"""The pause before the next try, which doubles with each failure in a row."""

from __future__ import annotations

PAUSE_FIRST_S = 0.1
PAUSE_MOST_S = 15.0
_FAILURES_MOST = 16  # counted; more would not make the pause longer


class Backoff:
    """Counts failures in a row."""

    def __init__(self) -> None:
        self._failures = 0

    def fail(self) -> float:
        """Count a failure, and return the pause in seconds before the next try."""
        pause = self.next_pause
        self._failures = min(self._failures + 1, _FAILURES_MOST)
        return pause

    def reset(self) -> None:
        """Forget the failures: a try has succeeded."""
        self._failures = 0

    @property
    def next_pause(self) -> float:
        """The pause in seconds that another failure would cause."""
        return min(PAUSE_MOST_S, PAUSE_FIRST_S * 2.0**self._failures)
