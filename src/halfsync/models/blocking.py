"""What the models with blocking threads have in common: a driver, an acceptor, and the pipe that reports their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.blocking.acceptor import Acceptor
from halfsync.blocking.driver import BlockingDriver
from halfsync.native.pipes import write_byte
from halfsync.runtime.originals import os

if TYPE_CHECKING:
    from collections.abc import Iterable

    from halfsync.models.model import Parts


class BlockingModel:
    """A model over `BlockingDriver`. A subclass says how it starts, and how it waits for its threads or processes."""

    def __init__(self, parts: Parts) -> None:
        self.driver = BlockingDriver(parts)
        self.acceptor = Acceptor(parts.listeners, self.driver, parts.adoption_fd, parts.profiles)
        self._done_fd = self._done_writer = -1
        self._started = False

    @property
    def done_fd(self) -> int:
        """A descriptor that becomes readable when all connections have ended."""
        return self._done_fd

    def _open_done(self) -> None:
        """Open the pipe that reports the end."""
        self._done_fd, self._done_writer = os.pipe()

    def _drop_done(self) -> None:
        """Close both ends of the pipe: the start has failed."""
        for fd in (self._done_fd, self._done_writer):
            os.close(fd)
        self._done_fd = self._done_writer = -1

    def _report_done(self) -> None:
        """Make `done_fd` readable."""
        write_byte(self._done_writer)
        os.close(self._done_writer)
        self._done_writer = -1

    def close_keepalives(self) -> None:
        """Let each connection end with its next response."""
        self.driver.close_keepalives()

    def drain(self) -> None:
        """Empty the backlog, end idle connections, and finish what was received."""
        self.driver.drain()

    def hand_off(self, exclusive: Iterable[int]) -> None:
        """Stop accepting, and hand off connections as they become idle."""
        self.driver.hand_off(exclusive)

    def stop(self) -> None:
        """End everything that waits for a client."""
        self.driver.stop()

    def close(self, timeout: float | None) -> bool:
        """Stop, and wait for the end. False: the application was still running after `timeout` seconds."""
        self.stop()
        if not self._started:
            self.acceptor.close()
            self.driver.release_descriptors()
            return True
        return self._done_fd < 0 or self._wait_for_end(timeout)

    def _wait_for_end(self, timeout: float | None) -> bool:
        """Wait until all threads or processes have ended, then `_release`. False: as for `close`."""
        raise NotImplementedError

    def _release(self) -> None:
        """Close the descriptors: nothing runs any longer."""
        os.close(self._done_fd)
        self._done_fd = -1
        self.driver.release_descriptors()

    def statistics(self) -> dict[str, int]:
        """Return the counts so far, over all threads or children."""
        return self.driver.statistics()
