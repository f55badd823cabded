"""The model `thread`: a thread for each connection.

An accepting thread takes connections from the listeners. It gives each its own thread, which serves the connection to
its end: it waits for the client, runs the application, and sends the response at the client's speed. Nothing waits in a
queue. A slow or silent client costs a thread until a deadline ends it, and affects no other client. `max_connections`
bounds the threads; past it, new connections stay in the kernel's backlog. If the system cannot make a thread, the new
connection is answered 503.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from halfsync.blocking.driver import NO_THREAD
from halfsync.models.accepting import AcceptingThread
from halfsync.runtime.threads import Thread

if TYPE_CHECKING:
    from halfsync.blocking.connection import ClientConnection

JOINS_MOST = 8  # ended threads joined for each one started: accepting waits for that


class ThreadPerConnection(AcceptingThread):
    """A thread for each connection, made when the connection is accepted."""

    def prepare(self) -> None:
        """Make the collections of threads."""
        self._threads: set[Thread] = set()
        self._ended: deque[Thread] = deque()

    def take(self, connection: ClientConnection) -> None:
        """Start the connection's thread, or answer 503 if the system cannot make one."""
        thread = Thread(lambda: self._serve(connection, thread), "halfsync-connection")
        try:
            thread.start()
        except RuntimeError:
            self.release_place()
            self.acceptor.shed(connection, NO_THREAD)
            return
        self._threads.add(thread)
        for _ in range(min(len(self._ended), JOINS_MOST)):
            ended = self._ended.popleft()  # joined by the thread that started it
            ended.join()
            self._threads.discard(ended)

    def _serve(self, connection: ClientConnection, thread: Thread) -> None:
        try:
            self.driver.serve_connection(connection)
        finally:
            self._ended.append(thread)
            self.end(connection)

    def finish(self) -> None:
        """Join the threads of all connections."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._ended.clear()
