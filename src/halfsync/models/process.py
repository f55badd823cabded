"""The model `process`: a child process for each connection.

The parent listens. `accept` returns a connected socket, and `fork` makes a child for it. Both processes look at what
fork returned: the child closes the listening sockets and serves the connection to its end; the parent closes the
connected socket and goes on accepting. Children are copies: what the application changes in one, no other sees.
`max_children` bounds their number; past it, new connections stay in the kernel's backlog. If the system cannot make a
process, the new connection is answered 503.

The parent starts no thread. In the foreground it is the process that was started. The process of an embedded server may
have threads, so it first forks one process to be the parent.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.blocking.acceptor import Acceptor
from halfsync.blocking.driver import NO_PROCESS, BlockingDriver
from halfsync.host.handlers import contain_handlers
from halfsync.models.driven import Driven
from halfsync.native.forks import is_signal_caught
from halfsync.native.pipes import write_byte
from halfsync.native.system import in_main_thread, readable
from halfsync.runtime.forking import fork, freeze, restore, run_child, unblock
from halfsync.runtime.originals import monotonic, os, signal
from halfsync.runtime.signals import ALL, ENDING, Signals, drop_signals, note_signals, release_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from halfsync.blocking.connection import ClientConnection
    from halfsync.models.model import Parts
    from halfsync.runtime.forking import Mask

LOOK_S = 0.02  # between two checks of children that must end
# Signals that only the parent may act on. A terminal that closes sends SIGHUP to the whole group.
FOR_PARENT = (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
# Signals that a forked parent keeps: those that it waits for, those of errors in it, and those that cannot be caught.
KEPT_BY_PARENT = (
    *Signals.NUMBERS,
    *(signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV),
    *(signal.SIGSYS, signal.SIGXCPU, signal.SIGKILL, signal.SIGSTOP),
)


class Children:
    """The children that run, and their reaping. Owned by the one thread of the parent.

    Each child has its connection's place in the counts of its client (`ClientConnection.client_index`), which is given
    back when the child has ended.

    Only these children are waited for: the application may have others, and it alone reaps those.
    """

    def __init__(self, driver: BlockingDriver) -> None:
        self._driver = driver
        self.pids: dict[int, int] = {}  # to their places
        self.words: dict[int, int] = {}  # by pid: each child's word (idle_lists.pyx)
        self.pid_of: dict[int, int] = {}  # by word
        self._free: list[int] = []
        self._words_count = 0

    def reap(self) -> list[int]:
        """Reap every child that has ended, and return their places.

        One SIGCHLD may stand for several ends, so this loops until none is left. A process that is not one of these
        children, and has ended unreaped, hides those behind it; then each child is waited for by its pid.
        """
        client_indexes: list[int] = []
        while self.pids:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                for pid in list(self.pids):  # reaped elsewhere
                    client_indexes.append(self._on_exit(pid))
                break
            if ended is None:
                break
            if ended.si_pid not in self.pids:
                for pid in list(self.pids):
                    client_indexes += self._wait(pid)
                break
            client_indexes += self._wait(ended.si_pid)
        return client_indexes

    def _wait(self, pid: int) -> list[int]:
        """Reap one child if it has ended, and return its place."""
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        return [self._on_exit(pid)] if ended == pid else []

    def _on_exit(self, pid: int) -> int:
        """Remove a child that has ended, and return its place."""
        word = self.words.pop(pid)
        del self.pid_of[word]
        self._driver.has_ended(word)
        self._free.append(word)
        return self.pids.pop(pid)

    def next_word(self) -> int:
        """Return a word that no child has."""
        if not self._free:
            self._free.append(self._words_count)
            self._words_count += 1
        return self._free[-1]

    def add(self, pid: int, client_index: int) -> None:
        """Add a forked child, which has the next word."""
        word = self._free.pop()
        self.words[pid] = word
        self.pid_of[word] = pid
        self.pids[pid] = client_index

    def signal_all(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to all children."""
        for pid in self.pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class Parent:
    """Accepts, forks and reaps. Called by the one thread of its process."""

    def __init__(self, driver: BlockingDriver, acceptor: Acceptor, max_children: int) -> None:
        self.driver = driver
        self.acceptor = acceptor
        self.children = Children(driver)
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
        self.driver.serve_connection(connection)

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
        unblock()


class Process(Driven):
    """A child process for each connection. An embedded server forks a parent for them."""

    def __init__(self, parts: Parts) -> None:
        self.driver = BlockingDriver(parts)
        self.acceptor = Acceptor(parts.listeners, self.driver, parts.adoption_fd)
        self.parent = Parent(self.driver, self.acceptor, parts.settings.max_children)
        self.parent.close_server_sockets = parts.close_server_sockets
        self._done_fd = self._done_writer = -1
        self._parent_pid = 0  # of the forked parent; 0: this process is the parent
        self._started = False

    @property
    def done_fd(self) -> int:
        """A descriptor that becomes readable when all connections have ended."""
        return self._done_fd

    @property
    def watched(self) -> list[int]:
        """The descriptors that make a `turn` due in a server in the foreground."""
        return [] if self._parent_pid or self._done_writer < 0 else self.parent.watched

    def timeout(self) -> float | None:
        """Return the seconds that a server in the foreground may wait before the next turn, or None."""
        if self._parent_pid:
            return None
        if self.parent.children.pids and not in_main_thread():
            return LOOK_S  # no SIGCHLD here when they end
        return self.parent.timeout()

    def start_in_front(self, unwanted: Callable[[], Sequence[int]]) -> None:
        """Become the parent, in the caller's only thread. unwanted: returns descriptors that a child must close."""
        self._done_fd, self._done_writer = os.pipe()
        self._started = True
        self.parent.unwanted = [self._done_fd, self._done_writer]
        self.parent.unwanted_now = unwanted
        self.driver.note_process()
        freeze()

    def turn(self) -> None:
        """Accept, fork and reap what is due. Do nothing if another process is the parent."""
        if self._parent_pid == 0 and self._done_writer >= 0:
            self.parent.turn()
            if self.parent.finished:
                write_byte(self._done_writer)
                os.close(self._done_writer)
                self._done_writer = -1

    def start(self) -> None:
        """Fork the parent. OSError: the system cannot make a process."""
        self._done_fd, self._done_writer = os.pipe()
        try:
            pid, mask = fork(signal.valid_signals())
        except BaseException:
            for fd in (self._done_fd, self._done_writer):
                os.close(fd)
            self._done_fd = self._done_writer = -1
            raise
        if pid == 0:
            run_child(lambda: self._be_parent(mask))
        self._started = True
        self._parent_pid = pid
        os.close(self._done_writer)
        self._done_writer = -1
        self.acceptor.close()
        try:
            restore(mask)  # this runs the handlers of signals that came since the fork
        except BaseException:
            self.close(0.0)
            raise

    def _be_parent(self, mask: Mask) -> None:
        """Run the forked parent, until it drains or stops, or the process that forked it is gone.

        mask: the signals that the program has blocked.
        """
        # Its handlers are copies of the program's, and no application runs here that they could serve.
        self.parent.dropped = signal.valid_signals().difference(KEPT_BY_PARENT)
        drop_signals(*self.parent.dropped)
        restore(mask.union(ALL))
        os.setpgid(0, 0)
        self.parent.close_server_sockets()
        os.close(self._done_fd)
        self.driver.close_wakeup_writers()
        self.driver.note_process()
        freeze()
        with Signals() as signals:
            contain_handlers()  # those of signals that are not dropped, such as SIGXCPU
            unblock()
            self.parent.unwanted = [*signals.descriptors, self._done_writer]
            while not self.parent.finished:
                number = signals.wait(self.parent.watched, self.parent.timeout())
                if number in ENDING:
                    self.driver.drain()
                    self.parent.children.signal_all()
                self.parent.turn()
        write_byte(self._done_writer)  # not read if the embedding program is gone

    def close(self, timeout: float | None) -> bool:
        """Stop and reap. False: the application still ran after `timeout` seconds, and its process was killed."""
        self.stop()
        if not self._started:
            self.acceptor.close()
            self.driver.release_descriptors()
            return True
        if self._done_fd < 0:
            return True
        ended = self._close_parent(timeout) if self._parent_pid else self._close_children(timeout)
        os.close(self._done_fd)
        self._done_fd = -1
        self.driver.release_descriptors()
        return ended

    def _close_parent(self, timeout: float | None) -> bool:
        ended = bool(readable([self._done_fd], timeout))
        if not ended:
            with suppress(ProcessLookupError):
                os.killpg(self._parent_pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._parent_pid, 0)
        return ended

    def _close_children(self, timeout: float | None) -> bool:
        deadline = None if timeout is None else monotonic() + timeout
        self.turn()
        while self.parent.children.pids and (deadline is None or monotonic() < deadline):
            readable([], LOOK_S)  # polls: SIGCHLD may not be received here now
            self.turn()
        ended = not self.parent.children.pids
        self.parent.children.signal_all(signal.SIGKILL)
        while self.parent.children.pids:
            readable([], LOOK_S)
            self.turn()
        if self._done_writer >= 0:
            os.close(self._done_writer)
            self._done_writer = -1
        return ended
