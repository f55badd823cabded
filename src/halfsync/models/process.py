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

from halfsync.host.handlers import contain_handlers
from halfsync.models.blocking import BlockingModel
from halfsync.models.parent import LOOK_S, Parent
from halfsync.native.system import in_main_thread, readable
from halfsync.runtime.forking import fork, freeze, restore, run_child, unblock
from halfsync.runtime.originals import monotonic, os, signal
from halfsync.runtime.signals import ALL, ENDING, Signals, drop_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from halfsync.models.model import Parts, Turns
    from halfsync.runtime.forking import Mask

# Signals that a forked parent keeps: those that it waits for, those of errors in it, and those that cannot be caught.
KEPT_BY_PARENT = (
    *Signals.NUMBERS,
    *(signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV),
    *(signal.SIGSYS, signal.SIGXCPU, signal.SIGKILL, signal.SIGSTOP),
)


class Process(BlockingModel):
    """A child process for each connection. An embedded server forks a parent for them."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.parent = Parent(self.driver, self.acceptor, parts.settings.max_children, parts.watcher)
        self.parent.close_server_sockets = parts.close_server_sockets
        self._parent_pid = 0  # of the forked parent; 0: this process is the parent

    @property
    def watched(self) -> list[int]:
        """The descriptors that make a `turn` due, if this process is the parent."""
        return [] if self._done_writer < 0 else self.parent.watched

    def timeout(self) -> float | None:
        """Return the seconds after which a `turn` is due in any case, or None."""
        if self.parent.children.pids and not in_main_thread():
            return LOOK_S  # no SIGCHLD here when they end
        return self.parent.timeout()

    def turn(self) -> None:
        """Accept, fork and reap what is due, if this process is the parent."""
        if self._done_writer >= 0:
            self.parent.turn()
            if self.parent.finished:
                self._report_done()

    def start(self, unwanted: Callable[[], Sequence[int]] | None = None) -> Turns | None:
        """Become the parent, or fork it. OSError: the system cannot make a process."""
        self._open_done()
        if unwanted is None:
            self._fork_parent()
            return None
        self._started = True
        self.parent.unwanted = [self._done_fd, self._done_writer]
        self.parent.unwanted_now = unwanted
        self.driver.note_process()
        freeze()
        return self

    def _fork_parent(self) -> None:
        try:
            pid, mask = fork(signal.valid_signals())
        except BaseException:
            self._drop_done()
            raise
        if pid == 0:
            run_child(lambda: self._be_parent(mask))
        self._started = True
        self._parent_pid = pid
        with suppress(ProcessLookupError):  # both sides do it, since either may need it first
            os.setpgid(pid, pid)
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
        self._report_done()  # not read if the embedding program is gone

    def _wait_for_end(self, timeout: float | None) -> bool:
        """Reap. False: the application still ran after `timeout` seconds, and its process was killed."""
        ended = self._close_parent(timeout) if self._parent_pid else self._close_children(timeout)
        self._release()
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
