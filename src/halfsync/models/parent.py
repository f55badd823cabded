"""The parent of the model `process`: it accepts, forks a child for each connection, and reaps the children."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.blocking.driver import NO_PROCESS
from halfsync.models.children import Children
from halfsync.native.forks import is_signal_caught
from halfsync.native.system import readable
from halfsync.runtime.forking import fork, restore, run_child, unblock
from halfsync.runtime.originals import os, signal
from halfsync.runtime.signals import drop_signals, note_signals, release_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from halfsync.blocking.acceptor import Acceptor
    from halfsync.blocking.connection import ClientConnection
    from halfsync.blocking.driver import BlockingDriver
    from halfsync.observe.watcher import Watcher

LOOK_S = 0.02  # between two checks of children that must end
# Signals that only the parent may act on. A terminal that closes sends SIGHUP to the whole group.
FOR_PARENT = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class Parent:
    """Accepts, forks and reaps. Called by the one thread of its process."""

    def __init__(
        self, driver: BlockingDriver, acceptor: Acceptor, max_children: int, watcher: Watcher | None
    ) -> None:
        self.driver = driver
        self.acceptor = acceptor
        self.watcher = watcher
        self.children = Children(driver, watcher)
        self.max_children = max_children
        self.unwanted: list[int] = []  # descriptors that a child must close
        self.unwanted_now: Callable[[], Sequence[int]] = tuple  # more of them, at the time of the fork
        self.close_server_sockets: Callable[[], None] = lambda: None  # see Parts
        self.dropped: Collection[int] = ()  # signals that do nothing here, but act in a child
        self._held: ClientConnection | None = None  # a connection that was admitted, and waits for a place
        self._chosen = -1  # the word of the child that must end for it
        self._has_pending = False  # a connection waits for a place: check again soon
        self._drained = False
        self._drain_signalled = False  # the drain pipe was readable, whatever the command says
        self._orphaned = False  # the process that signals is dead: the pipes stay readable

    @property
    def finished(self) -> bool:
        """True once the listeners are closed and all children are reaped."""
        return self._drained and not self.children.pids

    @property
    def watched(self) -> list[int]:
        """Descriptors to wait for, besides SIGCHLD."""
        wakeups = [] if self._drain_signalled else [self.driver.drain_fd]
        if not self.driver.stopping and not self._orphaned:
            wakeups.append(self.driver.stop_fd)
        has_room = self._has_room()
        return [*wakeups, *self.acceptor.watched(has_room or not self._has_pending, adopts=has_room)]

    def timeout(self) -> float | None:
        """Return the longest time to wait in seconds, or None for no limit."""
        has_room = self._has_room()
        if self.driver.stopping or (self._has_pending and not has_room):
            return LOOK_S
        if has_room and not self._drained and (self.acceptor.has_backlog or not self.acceptor.is_listening):
            return 0.0  # connections accepted when the drain began have no descriptor to wait for
        return self.acceptor.timeout()

    def turn(self) -> None:
        """Reap children that have ended, and fork for one connection; while draining, until the backlog is empty."""
        self.driver.turned()
        self._reap()
        self.acceptor.close_rejected()
        self._drain_signalled = self._drain_signalled or bool(readable([self.driver.drain_fd], 0))
        if self._drain_signalled and not self.driver.ending:
            self.driver.drain()  # the process that would send the command is dead
        self._orphaned = not self.driver.stopping and bool(readable([self.driver.stop_fd], 0))
        if self.driver.ending:
            self.acceptor.empty_backlog()
        if self.driver.stopping:
            self._stop_accepting()
        elif not self._drained:
            self._take_one()

    def _take_one(self) -> None:
        """Fork for one connection, or make room. Only one a turn: a command to drain waits for no second fork."""
        if not self._has_room():
            self._make_room()
            return
        connection, self._held = self._held or self.acceptor.next(), None
        if connection is not None:
            self._fork(connection)
            self._reap()
        elif self.driver.ending and not self.acceptor.is_listening:
            self._stop_accepting()

    def _make_room(self) -> None:
        """Signal the child that has idled longest to end, if a new connection waits for a place.

        No child ends for a connection to adopt: another process may have a place for it. And none ends before the new
        connection is admitted: a client past its own limit costs no other client a connection.
        """
        self._has_pending = False
        if self.driver.ending:
            return
        if self._held is None:
            if not self.acceptor.has_pending_accept():
                return
            if self.driver.can_evict():
                self._held = self.acceptor.next_from_listener()
            else:
                self._has_pending = True
        if self._held is None:
            return
        self._has_pending = True  # check again soon: the chosen child may just have got a request
        if self._chosen < 0 or not self.driver.is_chosen(self._chosen):
            self._chosen = self.driver.choose_victim()
            if self._chosen >= 0:
                os.kill(self.children.pid_of[self._chosen], signal.SIGTERM)

    def _has_room(self) -> bool:
        return len(self.children.pids) < self.max_children

    def _stop_accepting(self) -> None:
        self._drained = True
        if self._held is not None:
            self.driver.close(self._held)
            self._held = None
        self.acceptor.close()

    def _reap(self) -> None:
        for client_index in self.children.reap():
            self.driver.gone(client_index, last=not self.children.pids)

    def _fork(self, connection: ClientConnection) -> None:
        """Fork a child for a connection, or answer 503 if the system cannot."""
        word = self.children.next_word()
        try:
            pid, mask = fork()
        except OSError:
            self.acceptor.shed(connection, NO_PROCESS)
            return
        if pid == 0:
            run_child(lambda: self._serve(connection, word))
        restore(mask)
        self.children.add(pid, connection.client_index)
        self.driver.close_in_parent(connection)

    def _serve(self, connection: ClientConnection, word: int) -> None:
        """Run the child: serve the connection to its end."""
        self._become_child(word)
        try:
            self.driver.serve_connection(connection)
        finally:
            if self.watcher is not None:  # it may still have something to log
                self.watcher.stop()

    def _become_child(self, word: int) -> None:
        """Close the parent's descriptors, and leave the terminal's signals to it. SIGTERM ends an idle connection."""
        self.close_server_sockets()
        for fd in (*self.unwanted, *self.acceptor.held):
            os.close(fd)
        for fd in self.unwanted_now():
            with suppress(OSError):  # another thread of the parent may have closed it
                os.close(fd)
        self.driver.close_wakeup_writers()
        signal_read, signal_write = os.pipe()
        os.set_blocking(signal_read, False)
        os.set_blocking(signal_write, False)
        signal.set_wakeup_fd(-1)
        release_signals(*self.dropped)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        drop_signals(signal.SIGINT, signal.SIGQUIT, *filter(is_signal_caught, FOR_PARENT))
        note_signals(signal_write, signal.SIGTERM)
        self.driver.become_child(signal_read, word)
        if self.watcher is not None:
            with suppress(RuntimeError):  # the system refuses a thread: the child serves without it
                self.watcher.start()
        unblock()
