"""Open the file of an access log and set its owner, or connect to its syslog.

If only root can replace the file, root opens it before it drops its rights. Otherwise it is opened with the rights of
the user that the server becomes. A file that is made then belongs to this user, who can reopen it (decisions/0029).
"""

from __future__ import annotations

import errno
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from halfsync.host.rights import find_fixed, opening
from halfsync.runtime.originals import os, socket
from halfsync.settings.log_kinds import find_syslog

if TYPE_CHECKING:
    from halfsync.host.identity import Identity
    from halfsync.settings.log_kinds import SyslogTarget

STANDARD_OUTPUT = "-"
_MODE = 0o644
# O_NONBLOCK: do not wait for a reader of a named pipe.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def open_log(path: str, identity: Identity | None = None) -> int:
    """Return the descriptor of a file opened to append, of standard output for "-", or of a socket to a syslog.

    Raises OSError and UsageError. identity: the user and group that this process will have, which own the file if it is
    made now; None: no change.
    """
    if path == STANDARD_OUTPUT:
        return os.dup(1)
    syslog = find_syslog(path)
    if syslog is not None:
        return _connect(syslog)
    owner = None if identity is None else identity.owner
    with opening(path, identity) as place:
        if owner is not None:
            with suppress(FileExistsError):
                return _make(place, owner)
        return _open(place)


def _connect(syslog: SyslogTarget) -> int:
    """Return the descriptor of a datagram socket that is connected to a syslog. Its host is looked up once, here."""
    families: list[tuple[int, Any]] = [(socket.AF_UNIX, syslog.path)]
    if syslog.host:
        found = socket.getaddrinfo(syslog.host, syslog.port, 0, socket.SOCK_DGRAM)
        families = [(family, address) for family, _, _, _, address in found]
    failure: OSError | None = None
    for family, address in families:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connecting:
            try:
                connecting.connect(address)
            except OSError as error:
                failure = failure or error
            else:
                return connecting.detach()
    raise failure or OSError(errno.EADDRNOTAVAIL, "the host has no address")


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


def give_log(directory: str, path: str, owner: tuple[int, int]) -> None:
    """Let this user reopen the file: make it if it is not there, or change its owner if that is root. Raises OSError.

    directory: in which `path` is, unless it is absolute. For root, after a rotation of the log. Does nothing if any
    other user can replace the file, since root could then make a file in another place, or change its owner. Only a
    regular file with one name gets a new owner.
    """
    place = "" if path == STANDARD_OUTPUT or find_syslog(path) else find_fixed(os.path.join(directory, path))
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
