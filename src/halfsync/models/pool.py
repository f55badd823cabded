"""The model `pool`: threads made in advance take connected sockets from a bounded queue.

An accepting thread puts each connection into the queue of a `ThreadPool`, and never waits: if the queue is full, it
answers 503 with Retry-After. A thread that takes a connection has it to itself, as in `thread`. But while connections
wait in the queue, no idle connection holds a thread. After each response, and after a moment of silence, a connection
goes back to the end of the queue; an HTTP connection that has been silent for a second is closed. So N idle clients
cannot hold N threads. A client in the middle of a request does hold its thread, until the deadline of that phase ends
it: `head_timeout`, `body_timeout`, `write_timeout`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from halfsync.blocking.driver import QUEUE_FULL
from halfsync.models.accepting import AcceptingThread
from halfsync.pool.threadpool import ThreadPool

if TYPE_CHECKING:
    from halfsync.blocking.connection import ClientConnection

LOOK_S = 0.02  # between two checks whether the server still hands connections off


class Pool(AcceptingThread):
    """Threads made in advance over a bounded queue of connected sockets."""

    def prepare(self) -> None:
        """Make the threads. RuntimeError: the system refuses a thread."""
        # Each thread has a reserved place in the queue for the connection that it serves.
        threads, queue_size = self.settings.threads, self.settings.queue_size
        self._threads = ThreadPool(threads, queue_size=queue_size + threads, name="halfsync-worker")
        self.driver.evict_idle_for(self._threads)
        driver = self.driver  # not self, which has the acceptor: that cycle would live until it is collected
        self.acceptor.may_adopt = lambda: driver.waiting_now() < queue_size

    def undo(self) -> None:
        """End the threads, if they were made."""
        if hasattr(self, "_threads"):
            self._threads.close()
            del self._threads

    def take(self, connection: ClientConnection) -> None:
        """Put the new connection into the queue, or answer 503 if the queue is full."""
        if self.driver.waiting_now() < self.settings.queue_size and self._put(connection):
            self.driver.request_eviction()
        else:
            self.release_place()
            self.acceptor.shed(connection, QUEUE_FULL)

    def _put(self, connection: ClientConnection) -> bool:
        return self._threads.append(partial(self._serve, connection))

    def _serve(self, connection: ClientConnection) -> None:
        parked = False
        try:
            while not parked and self.driver.serve_connection(connection):
                parked = self._put(connection)  # a closed queue takes none: this thread keeps it
        except BaseException:
            self.driver.close(connection)  # memory is too short to queue it
            raise
        finally:
            if parked:
                self.driver.request_eviction()
            else:
                self.end(connection)

    def finish(self) -> None:
        """Let the threads serve what is queued, and join them.

        While connections are handed off, wait: those that no process has adopted yet go through the queue, which must
        be open.
        """
        vacant = 0
        while self.driver.handing_off and vacant < self.places:
            vacant += self._room.acquire(timeout=LOOK_S)
        self._threads.close()
        del self._threads
