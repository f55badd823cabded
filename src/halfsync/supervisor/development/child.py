"""What `reload` adds to a supervisor: a process that watches the sources, and the report of a change.

The watcher is a child like the serving processes. It ends when its supervisor does, for whatever reason.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.errors import reason_of
from halfsync.host.titles import name_watcher
from halfsync.log import logger
from halfsync.runtime.forking import fork, restore, run_child
from halfsync.runtime.originals import monotonic, os, signal, socket
from halfsync.runtime.standard import put_directories_behind
from halfsync.supervisor.channel import Channel
from halfsync.supervisor.development.sources import changed_at
from halfsync.supervisor.development.watching import Scope, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

STABLE_S = 5.0  # a watcher that ends sooner is not restarted: it would only end again


class Development:
    """The watcher, for its supervisor, and the processes that still serve old code.

    scope: what counts below which folders. files: those that count besides what is loaded, as they are now.
    """

    def __init__(self, scope: Scope, files: Sequence[str]) -> None:
        self._scope = scope
        self._files = {path: changed_at(path) for path in files}
        receiver, self.reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._receiver = receiver
        self._channel: Channel | None = None
        self._pid = 0
        self._began = 0.0
        self._wanted = True
        self._news: list[str] = []
        self._waits_for: set[int] = set()
        self._gone: set[int] = set()  # processes that take no more requests, and have not ended

    @property
    def fds(self) -> list[int]:
        """Descriptors that become readable when the watcher says something, or has ended."""
        return [] if self._channel is None or self._channel.lost else [self._channel.fd]

    def keep_watching(self, close_in_fork: Callable[[], None]) -> None:
        """Start the watcher if it is missing and wanted. close_in_fork: called in it; closes what it does not need."""
        if self._pid or not self._wanted:
            return
        try:
            ours, theirs = Channel.pair()
        except OSError as error:
            self._give_up(reason_of(error))
            return
        try:
            pid, mask = fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._give_up(reason_of(error))
            return
        if pid == 0:
            run_child(lambda: self._watch(ours, theirs, close_in_fork))
        self._pid, self._channel, self._began = pid, ours, monotonic()
        restore(mask)
        theirs.close()

    def _watch(self, ours: Channel, theirs: Channel, close_in_fork: Callable[[], None]) -> None:
        """Run the watcher, in its process."""
        ours.close()
        self.reports.close()
        close_in_fork()
        put_directories_behind()
        # SIGTERM may reach the whole process group, but is for the supervisor. The watcher ends when that does.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        name_watcher()
        try:
            watch(self._scope, self._files, self._receiver, theirs)
        except OSError as error:
            logger().error("sources cannot be watched: %s", reason_of(error))
            os._exit(1)

    def changed(self) -> str:
        """Return which files have changed, as text for a person; "": none."""
        return (self._channel.next() or "") if self._channel is not None else ""

    def announce(self, what: str, pids: Collection[int]) -> None:
        """Log that a change was seen, as soon as none of these processes takes requests."""
        self._news.append(what)
        self._waits_for |= set(pids) - self._gone
        self._tell()

    def quiesced(self, pid: int) -> None:
        """Note that a process takes no more requests."""
        self._gone.add(pid)
        self._waits_for.discard(pid)
        self._tell()

    def ended(self, pid: int) -> None:
        """Note that a process has ended."""
        self._gone.discard(pid)
        self._waits_for.discard(pid)
        self._tell()

    def _tell(self) -> None:
        if not self._waits_for:
            for what in self._news:
                logger().info("reloading: %s changed", what)
            self._news.clear()

    def reaped(self, pid: int, code: int) -> bool:
        """Note that a child has ended. Return True if that was the watcher, and another must be started."""
        if pid != self._pid:
            return False
        assert self._channel is not None
        self._pid = 0
        self._channel.close()
        if monotonic() - self._began < STABLE_S:
            self._give_up(f"the watcher ended with {code}")
        else:
            logger().error("the watcher ended with %d: replacing it", code)
        return self._wanted

    def _give_up(self, why: str) -> None:
        self._wanted = False
        self._receiver.close()  # so that no process waits for a reader
        logger().error("source changes are no longer noticed: %s; SIGHUP still reloads", why)

    def close_in_fork(self) -> None:
        """Close what is the supervisor's, in a serving process. It keeps `reports`."""
        self._receiver.close()
        if self._channel is not None:
            self._channel.close()

    def close(self) -> None:
        """End the watcher, and wait for it: it has nothing to finish."""
        self._wanted = False
        self._receiver.close()
        self.reports.close()
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0
        if self._channel is not None:
            self._channel.close()
