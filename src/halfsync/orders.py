"""The orders that a server in the foreground obeys, from a supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


def handoff_order(exclusive: Iterable[int]) -> str:
    """Return the order to hand off and end. exclusive: positions of listeners on which no other process accepts."""
    bits = sum({1 << position for position in exclusive})
    return f"leave {bits:x}" if bits else "leave"


def positions_in(listeners: str) -> list[int]:
    """Return the positions that an order to hand off names."""
    bits = int(listeners or "0", 16)
    return [position for position in range(bits.bit_length()) if bits >> position & 1]


class OrderSource(Protocol):
    """The orders of a process's supervisor. See `halfsync.supervisor.channel`."""

    @property
    def fd(self) -> int:
        """A descriptor that becomes readable when there is an order; -1: no order will ever come."""

    def next(self) -> str | None:
        """Return the next order; None: there is none. The order "leave" has arguments, see `handoff_order`."""

    def report_sigterm(self) -> None:
        """Report SIGTERM to the supervisor, which starts another process first, and then orders this one to leave."""

    def obeyed(self, order: str) -> None:
        """Note that the server has got an order."""

    def poll_interval(self) -> float | None:
        """Return the interval in seconds at which orders must be polled; None: polling is not needed."""
