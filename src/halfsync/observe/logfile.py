"""Open the file of an access log, and set its owner.

If only root can replace the file, root opens it before it drops its rights. Otherwise it is opened with the rights of
the user that the server becomes. A file that is made then belongs to this user, who can reopen it (decisions/0029).
"""

from __future__ import annotations

import errno
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.host.rights import find_fixed, opening
from halfsync.runtime.originals import os

if TYPE_CHECKING:
    from halfsync.host.identity import Identity

STANDARD_OUTPUT = "-"
_MODE = 0o644
# O_NONBLOCK: do not wait for a reader of a named pipe.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def open_log(path: str, identity: Identity | None = None) -> int:
    """Return the descriptor of a file opened to append, or of standard output for "-". Raises OSError and UsageError.

    identity: the user and group that this process will have, which own the file if it is made now; None: no change.
    """
    if path == STANDARD_OUTPUT:
        return os.dup(1)
    owner = None if identity is None else identity.owner
    with opening(path, identity) as place:
        if owner is not None:
            with suppress(FileExistsError):
                return _make(place, owner)
        return _open(place)


def _open(path: str) -> int:
    try:
        descriptor = os.open(path, _FLAGS | os.O_CREAT, _MODE)
    except OSError as error:
        if error.errno == errno.ENXIO and stat.S_ISFIFO(os.stat(path).st_mode):
            raise OSError(errno.ENXIO, "no process reads from this pipe") from None
        raise
    os.set_blocking(descriptor, True)
    return descriptor


def _make(path: str, owner: tuple[int, int]) -> int:
    """Return the descriptor of a new file. Raises FileExistsError if it is there, even as a dangling link."""
    descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
    os.set_blocking(descriptor, True)
    _give(descriptor, owner)
    return descriptor


def _give(descriptor: int, owner: tuple[int, int]) -> None:
    with suppress(OSError):  # some file systems have no owners, and root may lack this right
        os.fchown(descriptor, *owner)


def give_log(path: str, owner: tuple[int, int]) -> None:
    """Let this user reopen the file: make it if it is not there, or change its owner if that is root. Raises OSError.

    For root, after a rotation of the log. Does nothing if any other user can replace the file, since root could then
    make a file in another place, or change its owner. Only a regular file with one name gets a new owner.
    """
    place = "" if path == STANDARD_OUTPUT else find_fixed(path)
    if not place:
        return
    with suppress(FileExistsError):
        os.close(_make(place, owner))
        return
    try:
        descriptor = os.open(place, _FLAGS | os.O_NOFOLLOW)
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
