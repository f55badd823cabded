"""What the three models with a blocking driver have in common: the driver obeys the server's commands, and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from halfsync.blocking.driver import BlockingDriver


class Driven:
    """A model whose connections the blocking driver serves. See `Model` for the meaning of the commands."""

    driver: BlockingDriver

    def close_keepalives(self) -> None:
        """Let each connection end with its next response."""
        self.driver.close_keepalives()

    def drain(self) -> None:
        """Wake the thread that accepts, to empty the backlog, and idle connections, to end."""
        self.driver.drain()

    def hand_off(self, exclusive: Iterable[int]) -> None:
        """Wake the thread that accepts, to end, and hand off connections as they become idle."""
        self.driver.hand_off(exclusive)

    def stop(self) -> None:
        """End everything that waits for a client."""
        self.driver.stop()

    def statistics(self) -> dict[str, int]:
        """Return the counts so far, over all connections."""
        return self.driver.statistics()
