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

from halfsync.blocking.acceptor import Acceptor, PendingKind
from halfsync.blocking.driver import NO_THREAD, BlockingDriver
from halfsync.models.driven import Driven
from halfsync.native.pipes import write_byte
from halfsync.native.system import Semaphore
from halfsync.runtime.originals import os
from halfsync.runtime.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from halfsync.blocking.connection import ClientConnection
    from halfsync.models.model import Parts

JOINS_MOST = 8  # ended threads joined for each one started: accepting waits for that
FULL_S = 0.01  # between two checks for a place, while a connection waits for one


class AcceptingThread(Driven):
    """What the models `thread` and `pool` have in common: one thread accepts, and others serve.

    A subclass says what becomes of a new connection (`take`, in the accepting thread), and how the rest ends.
    """

    def __init__(self, parts: Parts) -> None:
        self.driver = BlockingDriver(parts)
        self.acceptor = Acceptor(parts.listeners, self.driver, parts.adoption_fd)
        self.settings = parts.settings
        self.places = parts.room
        self._held: ClientConnection | None = None  # a connection that was admitted, and waits for a place
        self._room = Semaphore(parts.room)
        self._thread = Thread(self._accept, "halfsync-accept")
        self._done_fd = self._done_writer = -1
        self._started = False

    @property
    def done_fd(self) -> int:
        """A descriptor that becomes readable when all connections have ended."""
        return self._done_fd

    def start(self) -> None:
        """Start the accepting thread. RuntimeError: the system cannot make one."""
        self._done_fd, self._done_writer = os.pipe()
        self.driver.note_process()
        try:
            self.prepare()
            self._thread.start()
        except BaseException:
            self.undo()
            for fd in (self._done_fd, self._done_writer):
                os.close(fd)
            self._done_fd = self._done_writer = -1
            raise
        self._started = True

    def start_in_front(self, unwanted: Callable[[], Sequence[int]]) -> None:
        """Start. Nothing is done in the main thread."""
        del unwanted
        self.start()

    @property
    def watched(self) -> list[int]:
        """Nothing: see start_in_front."""
        return []

    def timeout(self) -> float | None:
        """Return None: see start_in_front."""
        return None

    def turn(self) -> None:
        """Do nothing: see start_in_front."""

    def prepare(self) -> None:
        """Make what must be there before the first connection."""

    def undo(self) -> None:
        """Undo what `prepare` has made, in whole or in part. The accepting thread does not run."""

    def take(self, connection: ClientConnection) -> None:
        """Serve a new connection, which has a place, as the model does. For the accepting thread; must not wait."""
        raise NotImplementedError

    def release_place(self) -> None:
        """Free a place."""
        self._room.release()

    def end(self, connection: ClientConnection) -> None:
        """Free the place of a connection that has ended."""
        if not connection.has_freed_place:
            self.release_place()
            self.driver.place_freed(connection)

    def finish(self) -> None:
        """Wait until no connection is left. Called by the accepting thread, once it accepts no more."""
        raise NotImplementedError

    def _accept(self) -> None:
        """Accept until drained, empty the backlog, then signal completion."""
        try:
            self._accept_until_drained()
        finally:
            self.finish()
            self.acceptor.close()
            write_byte(self._done_writer)
            os.close(self._done_writer)

    def _accept_until_drained(self) -> None:
        has_place = False
        while True:
            self.acceptor.close_rejected()
            if self.driver.ending:
                self.acceptor.empty_backlog()
            if self.driver.stopping:
                break
            has_place = has_place or self._room.acquire(0) or self._acquire_place()
            connection = (self._held or self.acceptor.next()) if has_place else None
            if connection is not None:
                has_place = False
                self._held = None
                self.take(connection)
            elif has_place and self.driver.ending and not self.acceptor.is_listening:
                break
            elif has_place:
                self.acceptor.wait(room=True)
        if has_place:
            self.release_place()
        if self._held is not None:
            self.driver.close(self._held)
            self._held = None

    def _acquire_place(self) -> bool:
        """Wait for a place, or for something else to do. If a new connection waits, close the one that has idled
        longest.

        None is closed for a connection to adopt: another process may have a place for it. And none is closed before the
        new one is admitted: a client past its own limit costs no other client a connection.
        """
        if self.driver.ending:  # idle connections end at once, others later
            return self._room.acquire(timeout=self.acceptor.timeout())
        if self._held is not None:
            return self._make_room()
        newcomer = self.acceptor.wait_for_place()
        if self._room.acquire(0):  # a place became free
            return True
        if newcomer is PendingKind.NONE:
            return False
        if newcomer is not PendingKind.ADOPTED and self.driver.can_evict():
            self._held = self.acceptor.next_from_listener()
            return self._held is not None and self._make_room()
        return self._room.acquire(timeout=FULL_S)

    def _make_room(self) -> bool:
        """Wait for a place for the held connection, and close the one that has idled longest for it."""
        if self.driver.is_evicting():
            return self._room.acquire(timeout=FULL_S)
        # Check again: the connection that made room may have freed its place since the last check.
        return self._room.acquire(0) or self.driver.evict_idle() or self._room.acquire(timeout=FULL_S)

    def close(self, timeout: float | None) -> bool:
        """Stop and join. False: the application was still running in a thread after `timeout` seconds."""
        self.stop()
        if not self._started:
            self.acceptor.close()
            self.driver.release_descriptors()
            return True
        if self._done_fd >= 0:
            if not self._thread.join(timeout):
                return False
            os.close(self._done_fd)
            self._done_fd = -1
            self.driver.release_descriptors()
        return True


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
