"""The request queue, for its unit tests. Only in checks builds."""

from collections.abc import Sequence
from typing import Any, final

@final
class PyTaker: ...

class PyRequestQueue:
    def __init__(self, limit: int, patient: bool = False, ticket: int = 0) -> None:
        """ticket: of the first item."""

    def put(self, item: object, age_ns: int = 0, elsewhere_ns: int = 0) -> int:
        """Put an item as if that long ago. elsewhere_ns: how long it has waited before. Returns as queue_put."""

    def wake(self) -> None: ...
    def try_take(self, woken: bool = False, worker: PyTaker | None = None) -> tuple[int, Any]:
        """Return a QueueTaken (0: an item, 1: sleep now, 2: closed) and the item."""

    def sleep(self, worker: PyTaker | None = None) -> None: ...
    def check(self, now: int) -> tuple[int, bool]:
        """Return how long the owner may rest, in ns, and whether something waits."""

    def close(self) -> None: ...
    def withdraw(self, ticket: int, item: object) -> bool: ...
    def expire(self, now: int) -> Any: ...
    def hold(self, ticket: int, item: object) -> bool: ...
    def unhold(self) -> None: ...
    overloaded: bool
    @property
    def length(self) -> int: ...
    turn_ns: int
    @property
    def awake(self) -> int: ...
    @property
    def sleepers(self) -> int: ...
    @property
    def waking(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def waited_ns(self) -> int: ...

@final
class PyLanedQueue(PyRequestQueue):
    def __init__(
        self,
        limit: int,
        patient: bool = False,
        *,
        lanes: Sequence[tuple[int, int, int, int]],
        threads: int,
        share: int = 0,
    ) -> None:
        """lanes: guaranteed and most threads, items that may wait, priority. share: threads of a client; 0: all."""

    def put_in(self, item: object, lane: int, client: int = 0, age_ns: int = 0, elsewhere_ns: int = 0) -> int:
        """Put an item into a lane, for a client. client: its number; 0: of none."""

    def count_out(self, worker: PyTaker) -> None: ...
    def count_in(self) -> None: ...
    def count_new(self) -> None: ...
    def counts_of(self, lane: int) -> tuple[int, int]:
        """Return how many items wait, and how many turns are under way."""

    def shown(self, lane: int) -> tuple[int, int, int, int]:
        """Return the same as metrics show it, since when the first item waits, and how many were ever taken."""

    def retry_after_s(self, lane: int, now: int) -> int: ...
    def overload(self, lane: int, overloaded: bool) -> None: ...
    def is_overloaded(self, lane: int) -> bool: ...
    @property
    def has_work(self) -> bool: ...
    @property
    def clients(self) -> int: ...
