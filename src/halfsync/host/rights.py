"""With whose rights a path is opened by a server that is root, and will switch to another user (decisions/0029).

Root opens only what no other user can replace. Everything else is opened with the rights of the new user: otherwise an
application could put a link to a file of root's in the place of its own log.
"""

from __future__ import annotations

import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from halfsync.host.identity import acting_as
from halfsync.runtime.originals import os

if TYPE_CHECKING:
    from collections.abc import Iterator

    from halfsync.host.identity import Identity

LINKS_MOST = 40  # as many as the kernel follows


@contextmanager
def opening(path: str, identity: Identity | None) -> Iterator[str]:
    """Run a block with the rights to open a path, and give it the path to use.

    identity: the user that this process will switch to; None: no other. Raises UsageError if the process cannot get the
    user's rights.
    """
    if identity is None or not identity.changes:
        yield path
    elif place := find_fixed(path):
        yield place
    else:
        with acting_as(identity):
            yield path


def find_fixed(path: str) -> str:
    """Return a path without links, if only root can change what it leads to; else "".

    The last part may be missing. A descriptor of this process, to which `/dev/stdout` leads, is returned as it is.
    """
    try:
        return _walk(os.path.join(os.getcwd(), path))
    except OSError:
        return ""  # the caller's attempt to open it will show the reason


def _walk(path: str) -> str:
    left = [part for part in reversed(path.split("/")) if part]
    place, links = "/", 0
    own = f"/proc/{os.getpid()}/fd"
    while left:
        part = left.pop()
        if part == ".":
            continue
        if part == "..":
            place = os.path.dirname(place)
            continue
        directory, place = place, os.path.join(place, part)
        if directory == own:
            return place
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            return "" if left or not _only_root_replaces(os.stat(directory), None) else place
        if not _only_root_replaces(os.stat(directory), found):
            return ""
        if stat.S_ISLNK(found.st_mode):
            links += 1
            if links > LINKS_MOST:
                return ""
            target = os.readlink(place)
            place = "/" if target.startswith("/") else directory
            left += [part for part in reversed(target.split("/")) if part]
    return place


def _only_root_replaces(directory: os.stat_result, entry: os.stat_result | None) -> bool:
    """Return whether only root can replace an entry of a directory, or make it (None: it does not exist).

    In a directory with the sticky bit, all users may write, but remove only what is their own. There a directory of
    root's cannot be replaced. A file of root's may be a hard link that another user made to a file elsewhere.
    """
    if directory.st_uid != 0:
        return False
    if not directory.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return True
    is_sticky = directory.st_mode & stat.S_ISVTX
    return bool(is_sticky and entry is not None and entry.st_uid == 0 and stat.S_ISDIR(entry.st_mode))
