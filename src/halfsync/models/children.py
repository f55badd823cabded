"""The children of the model `process`, by pid and by word."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.runtime.originals import os, signal

if TYPE_CHECKING:
    from halfsync.blocking.driver import BlockingDriver
    from halfsync.observe.watcher import Watcher


class Children:
    """The children that run, and their reaping. Owned by the one thread of the parent.

    Each child has its connection's place in the counts of its client (`ClientConnection.client_index`), which is given
    back when the child has ended.

    Only these children are waited for: the application may have others, and it alone reaps those.
    """

    def __init__(self, driver: BlockingDriver, watcher: Watcher | None = None) -> None:
        self._driver = driver
        self._watcher = watcher
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
        if self._watcher is not None:
            self._watcher.forget(pid)
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
