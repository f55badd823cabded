"""The model `thread`: a thread for each connection.

An accepting thread takes connections from the listeners and gives each its own thread, which converses with the client
until the connection ends: it waits for the client, runs the application, and sends the response at the client's speed.
Nothing waits in a queue. A slow or silent client costs a thread until a deadline ends it, and nobody else notices;
`max_connections` bounds the threads, and past it newcomers stay in the kernel's backlog. When the system gives no
thread the newcomer is answered 503.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from halfsync.blocking.acceptor import Acceptor, Newcomer
from halfsync.blocking.driver import NO_THREAD, Carrier
from halfsync.native.pipes import write_byte
from halfsync.native.system import Semaphore
from halfsync.runtime.originals import os
from halfsync.runtime.threads import Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from halfsync.blocking.connection import Client
    from halfsync.models.model import Parts

JOINS_MOST = 8  # ended threads joined for each one started: newcomers wait for that
FULL_S = 0.01  # between two looks for a place, while a newcomer waits for one


class AcceptingThread:
    """What the models `thread` and `pool` have in common: one thread accepts, and others converse.

    A subclass says what becomes of a newcomer (`take`, in the accepting thread), and how the rest ends.
    """

    def __init__(self, parts: Parts) -> None:
        self.carrier = Carrier(parts)
        self.acceptor = Acceptor(parts.listeners, self.carrier, parts.adoption_fd)
        self.settings = parts.settings
        self.places = parts.room
        self._held: Client | None = None  # a newcomer that was let in, and waits for a place
        self._room = Semaphore(parts.room)
        self._thread = Thread(self._accept, "halfsync-accept")
        self._done_fd = self._doing_fd = -1
        self._started = False

    @property
    def done_fd(self) -> int:
        """A descriptor that becomes readable when all connections have ended."""
        return self._done_fd

    def start(self) -> None:
        """Start the accepting thread. RuntimeError: the system gives none."""
        self._done_fd, self._doing_fd = os.pipe()
        self.carrier.settle()
        try:
            self.prepare()
            self._thread.start()
        except BaseException:
            self.undo()
            for fd in (self._done_fd, self._doing_fd):
                os.close(fd)
            self._done_fd = self._doing_fd = -1
            raise
        self._started = True

    def start_in_front(self, unwanted: Callable[[], Sequence[int]]) -> None:
        """Start: nothing is done in the main thread."""
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
        """Make what must be there before the first newcomer."""

    def undo(self) -> None:
        """Undo what `prepare` has made, all of it or a part: the accepting thread does not run."""

    def take(self, client: Client) -> None:
        """Do with a newcomer, who has a place, what the model does. For the accepting thread, which must not wait."""
        raise NotImplementedError

    def vacate(self) -> None:
        """Give a place back."""
        self._room.release()

    def end(self, client: Client) -> None:
        """Give back the place of a connection that has ended."""
        if not client.has_vacated:
            self.vacate()
            self.carrier.vacated(client)

    def finish(self) -> None:
        """Wait until no connection is left. Called by the accepting thread, once nobody comes any more."""
        raise NotImplementedError

    def _accept(self) -> None:
        """Accept until told to end, and then those who are still to be; in the end, tell that all is over."""
        try:
            self._accept_until_drained()
        finally:
            self.finish()
            self.acceptor.close()
            write_byte(self._doing_fd)
            os.close(self._doing_fd)

    def _accept_until_drained(self) -> None:
        has_place = False
        while True:
            self.acceptor.see_off()
            if self.carrier.draining:
                self.acceptor.empty_backlog()
            if self.carrier.stopping:
                break
            has_place = has_place or self._room.acquire(0) or self._wait_for_place()
            client = (self._held or self.acceptor.next()) if has_place else None
            if client is not None:
                has_place = False
                self._held = None
                self.take(client)
            elif has_place and self.carrier.draining and not self.acceptor.listens:
                break
            elif has_place:
                self.acceptor.wait(room=True)
        if has_place:
            self.vacate()
        if self._held is not None:
            self.carrier.close(self._held)
            self._held = None

    def _wait_for_place(self) -> bool:
        """Wait until there is a place, or something else to do. If a newcomer waits, close the longest idle connection.

        None is closed for a connection to adopt: another process may have a place for it. And none is closed before the
        newcomer is let in: a client past its own limit costs no other client a connection.
        """
        if self.carrier.draining:  # connections end, idle ones at once
            return self._room.acquire(timeout=self.acceptor.timeout())
        if self._held is not None:
            return self._make_room()
        newcomer = self.acceptor.wait_full()
        if self._room.acquire(0):  # one became free
            return True
        if newcomer is Newcomer.NONE:
            return False
        if newcomer is not Newcomer.ADOPTED and self.carrier.can_make_room():
            self._held = self.acceptor.knocked()
            return self._held is not None and self._make_room()
        return self._room.acquire(timeout=FULL_S)

    def _make_room(self) -> bool:
        """Wait for a place for the newcomer that is held; one connection is closed for it, the longest idle."""
        if self.carrier.is_making_room():
            return self._room.acquire(timeout=FULL_S)
        # Looked at once more, since the one that made room may have given its place back between the two looks.
        return self._room.acquire(0) or self.carrier.make_room() or self._room.acquire(timeout=FULL_S)

    def fade(self) -> None:
        """Let each connection end with its next response."""
        self.carrier.fade()

    def drain(self) -> None:
        """Let the accepting thread empty the backlog, and idle connections end."""
        self.carrier.drain()

    def leave(self, alone: Iterable[int]) -> None:
        """Let the accepting thread end, and connections be handed over as they come to rest."""
        self.carrier.leave(alone)

    def stop(self) -> None:
        """Let every thread end that waits for its client."""
        self.carrier.stop()

    def close(self, timeout: float | None) -> bool:
        """Stop and join. False: the application was still running in a thread after `timeout` seconds."""
        self.stop()
        if not self._started:
            self.acceptor.close()
            self.carrier.dismiss()
            return True
        if self._done_fd >= 0:
            if not self._thread.join(timeout):
                return False
            os.close(self._done_fd)
            self._done_fd = -1
            self.carrier.dismiss()
        return True

    def statistics(self) -> dict[str, int]:
        """Return counts so far."""
        return self.carrier.statistics()


class ThreadPerConnection(AcceptingThread):
    """A thread for each connection, made when the connection comes."""

    def prepare(self) -> None:
        """Have a place to note the threads."""
        self._threads: set[Thread] = set()
        self._ended: deque[Thread] = deque()

    def take(self, client: Client) -> None:
        """Start the newcomer's thread, or answer 503 where the system gives none."""
        thread = Thread(lambda: self._converse(client, thread), "halfsync-connection")
        try:
            thread.start()
        except RuntimeError:
            self.vacate()
            self.acceptor.shed(client, NO_THREAD)
            return
        self._threads.add(thread)
        for _ in range(min(len(self._ended), JOINS_MOST)):
            ended = self._ended.popleft()  # joined by the thread that started it
            ended.join()
            self._threads.discard(ended)

    def _converse(self, client: Client, thread: Thread) -> None:
        try:
            self.carrier.carry(client)
        finally:
            self._ended.append(thread)
            self.end(client)

    def finish(self) -> None:
        """Join the threads of all connections."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._ended.clear()
