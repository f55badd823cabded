"""The thread that accepts in the models `thread` and `pool`, and the places for connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.blocking.acceptor import PendingKind
from halfsync.models.blocking import BlockingModel
from halfsync.native.system import Semaphore
from halfsync.runtime.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from halfsync.blocking.connection import ClientConnection
    from halfsync.models.model import Parts

FULL_S = 0.01  # between two checks for a place, while a connection waits for one


class AcceptingThread(BlockingModel):
    """What the models `thread` and `pool` have in common: one thread accepts, and others serve.

    A subclass says what becomes of a new connection (`take`, in the accepting thread), and how the rest ends.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.settings = parts.settings
        self.places = parts.room
        self._held: ClientConnection | None = None  # a connection that was admitted, and waits for a place
        self._room = Semaphore(parts.room)
        self._thread = Thread(self._accept, "halfsync-accept")

    def start(self, unwanted: Callable[[], Sequence[int]] | None = None) -> None:
        """Start the accepting thread. Nothing is done in the main thread. RuntimeError: the system cannot make one."""
        del unwanted  # no process is forked
        self._open_done()
        self.driver.note_process()
        try:
            self.prepare()
            self._thread.start()
        except BaseException:
            self.undo()
            self._drop_done()
            raise
        self._started = True

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
            self._report_done()

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

    def _wait_for_end(self, timeout: float | None) -> bool:
        """Join the accepting thread, which ends last. False: as for `close`."""
        ended = self._thread.join(timeout)
        if ended:
            self._release()
        return ended
