"""How requests have ended, as the server reported it: read by tests from the record that checks builds keep."""

from dataclasses import dataclass

from halfsync.native import checks
from tests.wsgi import until

TIMES = ("accepted", "first_byte", "head", "complete", "queued", "taken", "first_sent", "last_sent")


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one request. times: seconds on the monotonic clock, by name; those that there are."""

    status: int
    outcome: str
    reason: str
    times: dict[str, float]

    @property
    def what(self) -> tuple[int, str, str]:
        """Status, outcome and reason."""
        return self.status, self.outcome, self.reason


class Endings:
    """The ends of requests since this was made, in this process and in those that it has forked since."""

    def __init__(self) -> None:
        self._since = checks.endings_count()

    def __len__(self) -> int:
        return checks.endings_count() - self._since

    def wait(self, number: int) -> list[Ending]:
        """Return all of them, once there are so many: an end is reported a moment after the response.

        There must not be more.
        """
        until(lambda: len(self) >= number and None not in checks.endings(self._since))
        found = checks.endings(self._since)
        assert len(found) == number, found
        return [
            Ending(
                status,
                outcome,
                reason,
                {name: ns * 1e-9 for name, ns in zip(TIMES, times, strict=True) if ns > 0},
            )
            for status, outcome, reason, times in filter(None, found)
        ]

    def one(self) -> Ending:
        """Return the only one."""
        return self.wait(1)[0]
