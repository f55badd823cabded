"""The file of an access log: how it is opened, and whose it is.

Root opens it before it gives its rights up, if nobody but root can replace it; else it is opened with the rights of the
user that the server becomes. A file that is made then belongs to this user, who can open it again (decisions/0029).
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
# Without waiting for a reader, if it is a named pipe.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def open_log(path: str, identity: Identity | None = None) -> int:
    """Open a file to append to, or standard output for "-", and return the descriptor. Raises OSError and UsageError.

    identity: whom this process is to become, and who gets the file if it is made now; None: nobody.
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

    For root, after somebody has rotated the log. Nothing is done if anybody else can replace the file: root could make
    one, or hand one over, that lies elsewhere. Only a regular file with one name is handed over.
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
