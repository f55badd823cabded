"""Watching source files, in a separate process: what counts as a change, and the work of the watcher.

The Python files below one folder count, or below several, and single files elsewhere that the serving processes
report. The system (inotify) is asked to watch each folder separately, since it cannot leave out subfolders with
thousands of files of others.

No change is missed between loading a file and watching it: the process that loads it reports its last change.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
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
QUIET_MOST_MS = 400  # if changes go on, they are reported after this time
LISTEN_MS = 200  # how often the watcher looks for reports, and whether the supervisor is still there
FOLDERS_MOST = 4096  # below the working directory; the nearest count
SCANS = 5  # tries, while folders come and go
NAME_BYTES = 200  # of a name that is reported
ADDED = 1  # watchfiles' value
_SKIPPED = ("node_modules", "__pycache__", "site-packages")
_TEMPORARY = (".", "#", "flycheck_", "flymake_")  # prefixes of editors' temporary files


@dataclass(frozen=True, slots=True)
class Scope:
    """Which files below which folders count. roots: the folders; changes are named relative to the first one.

    include: patterns of the names of files that count besides Python files. exclude: patterns of the names of files and
    folders that do not. A pattern with a slash is compared with the path below a root.
    """

    roots: tuple[str, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def is_source(self, path: str) -> bool:
        """Return whether a file in a folder of the tree counts."""
        name = os.path.basename(path)
        return (is_source(name) or self._fits(path, self.include)) and not self._fits(path, self.exclude)

    def is_skipped(self, path: str) -> bool:
        """Return whether a folder is left out."""
        return _is_skipped(os.path.basename(path), path) or self._fits(path, self.exclude)

    def _fits(self, path: str, patterns: tuple[str, ...]) -> bool:
        name = os.path.basename(path)
        return any(
            any(fnmatchcase(below, pattern.strip("/")) for below in self._below(path))
            if "/" in pattern.rstrip("/")
            else fnmatchcase(name, pattern.rstrip("/"))
            for pattern in patterns
        )

    def _below(self, path: str) -> list[str]:
        """Return a path relative to each root that it is below."""
        prefixes = [root.rstrip("/") + "/" for root in self.roots]
        return [path[len(prefix) :] for prefix in prefixes if path.startswith(prefix)]


class Selection:
    """What is watched. scope: what counts below folders; files: others that count, even if they do not exist."""

    def __init__(self, scope: Scope, files: Iterable[str] = ()) -> None:
        self.scope = replace(scope, roots=tuple(dict.fromkeys(map(os.path.realpath, scope.roots))))
        self.root = self.scope.roots[0]
        self.tree: set[str] = set()  # the roots and the folders below them, as of the last `scan`
        self.cropped = False  # there are more than FOLDERS_MOST
        self._files: dict[str, str] = {}  # the system's name of each: the name that was given
        for path in files:
            self.add(path)
        self.scan()

    def add(self, path: str) -> None:
        """Let this file count. If it is a link, its target counts too."""
        folder, name = os.path.split(path)
        self._files[os.path.join(os.path.realpath(folder), name)] = path
        self._files[os.path.realpath(path)] = path

    def scan(self) -> list[str]:
        """Look for folders below the roots, and return the sources in new folders."""
        roots = [root for root in self.scope.roots if os.path.isdir(root)]
        before, self.tree, self.cropped = self.tree, set(roots), False
        new: list[str] = []
        waiting = roots
        for folder in waiting:  # grows in the loop: the nearest come first
            folders, sources = _list(folder, self.scope)
            if folder not in before:
                new += sources
            for one in folders:
                if one in self.tree:
                    continue  # a root below another
                if len(self.tree) >= FOLDERS_MOST:
                    self.cropped = True
                    return new
                self.tree.add(one)
                waiting.append(one)
        return new

    @property
    def folders(self) -> set[str]:
        """The folders to watch, each without its subfolders."""
        elsewhere = {os.path.dirname(path) for path in self._files}
        return self.tree | {folder for folder in elsewhere if os.path.isdir(folder)}

    def counts(self, path: str) -> bool:
        """Return whether a change of this file is a change of the application's code."""
        folder = os.path.dirname(path)
        return path in self._files or (folder in self.tree and self.scope.is_source(path))

    def is_new_folder(self, path: str) -> bool:
        """Return whether this is a folder below a root that has just been created, or has come back."""
        folder = os.path.dirname(path)
        return folder in self.tree and not self.scope.is_skipped(path) and os.path.isdir(path)

    def forget(self, folder: str) -> None:
        """Treat this folder, and those below it, as new at the next `scan`."""
        self.tree = {one for one in self.tree if one != folder and not one.startswith(folder + "/")}

    def name(self, path: str) -> str:
        """Return the path of a file relative to the first root."""
        return path.removeprefix(self.root.rstrip("/") + "/")


def is_source(name: str) -> bool:
    """Return whether a name is that of a Python file, and not that of an editor's temporary file."""
    return name.endswith(".py") and not name.startswith(_TEMPORARY)


def _list(folder: str, scope: Scope) -> tuple[list[str], list[str]]:
    """Return the subfolders of a folder that count, and its sources. Links are not followed."""
    folders, sources = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        if not scope.is_skipped(entry.path):
                            folders.append(entry.path)
                    elif scope.is_source(entry.path):
                        sources.append(entry.path)
    except OSError:
        pass  # it has just gone, or may not be read
    return sorted(folders), sorted(sources)


def _is_skipped(name: str, path: str) -> bool:
    """Return whether a folder is hidden, a virtual environment or a cache, so has no code of the application."""
    return name.startswith(".") or name in _SKIPPED or os.path.exists(f"{path}/pyvenv.cfg")


def describe(selection: Selection, paths: Collection[str]) -> str:
    """Return which files have changed, in about NAME_BYTES."""
    first = os.fsencode(selection.name(min(paths))).decode("utf-8", "replace")
    if len(first.encode()) > NAME_BYTES:
        first = "..." + first.encode()[-NAME_BYTES:].decode("utf-8", "ignore")
    others = len(paths) - 1
    more = f" and {others} other{'s' if others > 1 else ''}" if others else ""
    return f"{first}{more}"


class SourceWatcher:
    """The watcher's work: it watches folders, and reads reports of files. Owned by one thread.

    reports: the socket on which the serving processes report what they have loaded. told: what is known already.
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
        """Wait LISTEN_MS or a little longer, and return the files of the application that have changed."""
        assert self._notify is not None
        changed = self._sort(self._notify.watch(QUIET_MOST_MS, QUIET_MS, LISTEN_MS, None))
        told = self._told | unpack(self._packets())
        self._told = {}
        for path in told:
            self._selection.add(path)
        if not self._selection.folders <= self._watched:
            changed |= self._begin()
        # This finds a file that was changed after it was loaded and before it was watched.
        return changed | {path for path, time in told.items() if changed_at(path) != time}

    def _sort(self, events: object) -> set[str]:
        """Return the changed files that count in the system's events, and watch new folders."""
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
        """Watch all folders that exist now, and return what has changed since the last scan. Raises OSError."""
        first = self._notify is None
        found: set[str] = set()
        for tries in range(SCANS, 0, -1):
            found |= set(self._selection.scan())
            try:
                new = self._open(self._selection.folders)
                break
            except FileNotFoundError:  # a folder has gone since the scan
                if tries == 1:
                    raise
        old, self._notify = self._notify, new
        self._watched = self._selection.folders
        if self._selection.cropped:
            logger().warning(
                "watching only %d folders of %s", FOLDERS_MOST, ", ".join(self._selection.scope.roots)
            )
        if old is not None:
            late = old.watch(1, 1, 1, None)  # what the old one has not reported yet
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


def watch(scope: Scope, files: Mapping[str, int], reports: socket.socket, channel: Channel) -> None:
    """Report changes until the supervisor has ended. channel: to the supervisor. Raises OSError.

    scope and files: what counts from the start, files with the time of their last change, in ns.
    """
    selection = Selection(scope, files)
    work = SourceWatcher(selection, reports, files)
    while True:
        changed = work.changes()
        if changed:
            channel.tell(describe(selection, changed))
        channel.next()
        if channel.lost:
            return
