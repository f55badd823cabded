"""Watching source files, in a process of its own: what counts as a change, and the life of the watcher.

What counts are the Python files below one folder, and single files elsewhere that the serving processes tell of. The
system (inotify) is asked about each folder by itself, since it cannot be told to leave out those below that hold
thousands of files of others.

Nothing is missed between loading a file and watching it: whoever loads it says when it had been changed last.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.log import logger
from halfsync.runtime.originals import os
from halfsync.runtime.standard import genuine
from halfsync.supervisor.development.sources import PACKET_BYTES, changed_at, unpack

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from watchfiles._rust_notify import RustNotify

    from halfsync.supervisor.channel import Channel

QUIET_MS = 50  # without a change, after the first: an editor writes a file in several steps
QUIET_MOST_MS = 400  # changes that go on are told in between
LISTEN_MS = 200  # how often the watcher looks whether it is told something, or nobody is there any more
FOLDERS_MOST = 4096  # below the working directory; the nearest count
SCANS = 5  # tries, while folders come and go
NAME_BYTES = 200  # of a name that is told
ADDED = 1  # as watchfiles has it
_SKIPPED = ("node_modules", "__pycache__", "site-packages")
_TEMPORARY = (".", "#", "flycheck_", "flymake_")  # how the names of editors' own files begin


class Selection:
    """What is watched. root: the folder whose sources count; files: others that do, whether or not they are there."""

    def __init__(self, root: str, files: Iterable[str] = ()) -> None:
        self.root = os.path.realpath(root)
        self.tree: set[str] = set()  # the root and the folders below it, as of the last `scan`
        self.cropped = False  # there are more than FOLDERS_MOST
        self._files: dict[str, str] = {}  # as the system names each: as it was named to us
        for path in files:
            self.add(path)
        self.scan()

    def add(self, path: str) -> None:
        """Let this file count. Where it is a link, what it leads to counts too."""
        folder, name = os.path.split(path)
        self._files[os.path.join(os.path.realpath(folder), name)] = path
        self._files[os.path.realpath(path)] = path

    def scan(self) -> list[str]:
        """Look for folders below the root, and return the sources in those that were not there before."""
        before, self.tree, self.cropped = self.tree, {self.root}, False
        new: list[str] = []
        waiting = [self.root]
        for folder in waiting:  # grows: the nearest come first
            folders, sources = _list(folder)
            if folder not in before:
                new += sources
            for one in folders:
                if len(self.tree) >= FOLDERS_MOST:
                    self.cropped = True
                    return new
                self.tree.add(one)
                waiting.append(one)
        return new

    @property
    def folders(self) -> set[str]:
        """The folders to watch, each without those below it."""
        elsewhere = {os.path.dirname(path) for path in self._files}
        return self.tree | {folder for folder in elsewhere if os.path.isdir(folder)}

    def counts(self, path: str) -> bool:
        """Tell whether a change of this file is one of the application's code."""
        folder, name = os.path.split(path)
        return path in self._files or (folder in self.tree and is_source(name))

    def is_new_folder(self, path: str) -> bool:
        """Tell whether this is a folder below the root that has just been made, or has come back."""
        folder, name = os.path.split(path)
        return folder in self.tree and not _is_skipped(name, path) and os.path.isdir(path)

    def forget(self, folder: str) -> None:
        """Take this folder, and those below it, for new at the next `scan`."""
        self.tree = {one for one in self.tree if one != folder and not one.startswith(folder + "/")}

    def name(self, path: str) -> str:
        """Say which file this is, as seen from the root."""
        return path.removeprefix(self.root.rstrip("/") + "/")


def is_source(name: str) -> bool:
    """Tell whether a name is that of a Python file, and of no editor's temporary one."""
    return name.endswith(".py") and not name.startswith(_TEMPORARY)


def _list(folder: str) -> tuple[list[str], list[str]]:
    """Return the folders in a folder that are looked into, and the sources. Links are not followed."""
    folders, sources = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        if not _is_skipped(entry.name, entry.path):
                            folders.append(entry.path)
                    elif is_source(entry.name):
                        sources.append(entry.path)
    except OSError:
        pass  # it has just gone, or is none of ours to read
    return sorted(folders), sorted(sources)


def _is_skipped(name: str, path: str) -> bool:
    """Tell whether a folder holds no code of the application's: hidden ones, virtual environments, caches."""
    return name.startswith(".") or name in _SKIPPED or os.path.exists(f"{path}/pyvenv.cfg")


def describe(selection: Selection, paths: Collection[str]) -> str:
    """Say which files have changed, in NAME_BYTES or so."""
    first = os.fsencode(selection.name(min(paths))).decode("utf-8", "replace")
    if len(first.encode()) > NAME_BYTES:
        first = "..." + first.encode()[-NAME_BYTES:].decode("utf-8", "ignore")
    others = len(paths) - 1
    more = f" and {others} other{'s' if others > 1 else ''}" if others else ""
    return f"{first}{more}"


class SourceWatcher:
    """The watcher's work: asks the system about folders, and hears of files. Owned by one thread.

    reports: where the serving processes tell what they have loaded. told: what is known already, likewise.
    """

    def __init__(
        self, selection: Selection, reports: socket.socket, told: Mapping[str, int] | None = None
    ) -> None:
        reports.setblocking(False)
        self._selection = selection
        self._reports = reports
        self._told = dict(told or {})
        self._watched: set[str] = set()
        self._notify: RustNotify | None = None
        self._begin()

    def changes(self) -> set[str]:
        """Wait, LISTEN_MS or a little more, and return the files of the application that have changed."""
        assert self._notify is not None
        changed = self._sort(self._notify.watch(QUIET_MOST_MS, QUIET_MS, LISTEN_MS, None))
        told = self._told | unpack(self._packets())
        self._told = {}
        for path in told:
            self._selection.add(path)
        if not self._selection.folders <= self._watched:
            changed |= self._begin()
        # A file that was changed between being loaded and being watched is seen here.
        return changed | {path for path, time in told.items() if changed_at(path) != time}

    def _sort(self, events: object) -> set[str]:
        """Take in what the system tells: files that count are returned, new folders are watched."""
        if not isinstance(events, set):
            return set()
        changed = {path for _, path in events if self._selection.counts(path)}
        new = [path for kind, path in events if kind == ADDED and self._selection.is_new_folder(path)]
        if new:
            for path in new:
                self._selection.forget(path)
            changed |= self._begin()
        return changed

    def _begin(self) -> set[str]:
        """Watch all folders that there are now, and return what has changed meanwhile. Raises OSError."""
        first = self._notify is None
        found: set[str] = set()
        for tries in range(SCANS, 0, -1):
            found |= set(self._selection.scan())
            try:
                new = self._open(self._selection.folders)
                break
            except FileNotFoundError:  # a folder has gone since
                if tries == 1:
                    raise
        old, self._notify = self._notify, new
        self._watched = self._selection.folders
        if self._selection.cropped:
            logger().warning("of %s only %d folders are watched", self._selection.root, FOLDERS_MOST)
        if old is not None:
            late = old.watch(1, 1, 1, None)  # what the old one had not told yet
            old.close()
            if isinstance(late, set):
                found |= {path for _, path in late if self._selection.counts(path)}
        return set() if first else found

    def _open(self, folders: Iterable[str]) -> RustNotify:
        with genuine():
            from watchfiles._rust_notify import RustNotify  # noqa: PLC0415 - optional, and slow to import

        return RustNotify(sorted(folders), False, False, 0, False, True)

    def _packets(self) -> Iterator[bytes]:
        while True:
            try:
                packet = self._reports.recv(2 * PACKET_BYTES)
            except BlockingIOError:
                return
            if not packet:
                return
            yield packet


def watch(root: str, files: Mapping[str, int], reports: socket.socket, channel: Channel) -> None:
    """Tell of changes until nobody listens any more. channel: to the supervisor. Raises OSError.

    root and files: what counts from the first, files with the time of their last change, in ns.
    """
    selection = Selection(root, files)
    work = SourceWatcher(selection, reports, files)
    while True:
        changed = work.changes()
        if changed:
            channel.tell(describe(selection, changed))
        channel.next()
        if channel.lost:
            return
