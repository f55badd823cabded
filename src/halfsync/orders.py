"""The orders that a server in the foreground obeys, from a supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


# A process that hands off ends once its connections are handed off or answered. One that closes keep-alives goes on
# accepting. Each order is a word.
HAND_OFF = "hand_off"  # with arguments: see `handoff_order`
CLOSE_KEEPALIVES = "close_keepalives"
DRAIN = "drain"
QUIT = "quit"
REOPEN = "reopen"  # the access log
FINISH = "finish"  # of a process whose supervisor has died: drain, unless it ends already


def handoff_order(exclusive: Iterable[int]) -> str:
    """Return the order to hand off and end. exclusive: positions of listeners on which no other process accepts."""
    bits = sum({1 << position for position in exclusive})
    return f"{HAND_OFF} {bits:x}" if bits else HAND_OFF


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
        """Return the next order; None: there is none. HAND_OFF has arguments."""

    def report_sigterm(self) -> None:
        """Report SIGTERM to the supervisor, which starts another process first, and orders this one to hand off."""

    def obeyed(self, order: str) -> None:
        """Note that the server has got an order."""

    def poll_interval(self) -> float | None:
        """Return the interval in seconds at which orders must be polled; None: polling is not needed."""
