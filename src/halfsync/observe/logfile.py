"""The file of an access log: how it is opened, and whose it is.

Root opens it before it gives its rights up. A file that is made then belongs to the user that the server becomes, so
that this user can open it again (decisions/0029).
"""

from __future__ import annotations

import errno
import stat
from contextlib import suppress

from halfsync.originals import os

STANDARD_OUTPUT = "-"
_MODE = 0o644
# Without waiting for a reader, if it is a named pipe.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def open_log(path: str, owner: tuple[int, int] | None = None) -> int:
    """Open a file to append to, or standard output for "-", and return the descriptor. Raises OSError.

    owner: the user and the group that get the file if it is made now; -1: that of this process.
    """
    if path == STANDARD_OUTPUT:
        return os.dup(1)
    if owner is not None:
        with suppress(FileExistsError):
            return _make(path, owner)
    try:
        descriptor = os.open(path, _FLAGS | os.O_CREAT, _MODE)
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(path).st_mode):
            raise OSError(errno.ENXIO, "nobody reads from this pipe") from None
        raise
    os.set_blocking(descriptor, True)
    return descriptor


def _make(path: str, owner: tuple[int, int]) -> int:
    """Make a file that is not there. Raises FileExistsError if it is, even as a link that leads nowhere."""
    descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
    os.set_blocking(descriptor, True)
    _give(descriptor, owner)
    return descriptor


def _give(descriptor: int, owner: tuple[int, int]) -> None:
    with suppress(OSError):  # some file systems know no owners, and root may be without this right
        os.fchown(descriptor, *owner)


def give_log(path: str, owner: tuple[int, int]) -> None:
    """Let this user open the file again: make it if it is not there, or hand it over if it is root's. Raises OSError.

    For root, after somebody has rotated the log. Only a regular file with one name is handed over, in a directory that
    is root's alone: in any other one, whoever may write to it could put a file of root's in its place.
    """
    if path == STANDARD_OUTPUT:
        return
    with suppress(FileExistsError):
        os.close(_make(path, owner))
        return
    if not _is_roots_alone(os.path.dirname(path) or "."):
        return
    try:
        descriptor = os.open(path, _FLAGS | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, or a pipe
            return
        raise
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == 0:
            _give(descriptor, owner)
    finally:
        os.close(descriptor)


def _is_roots_alone(directory: str) -> bool:
    found = os.stat(directory)
    return found.st_uid == 0 and not found.st_mode & stat.S_IWOTH
