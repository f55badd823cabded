"""Listening unix sockets, and their files."""

import errno
import stat
from collections.abc import Callable

from halfsync.amounts import digits
from halfsync.errors import BindError, reason_of
from halfsync.listening.binds import UnixBind, socket_file
from halfsync.listening.endpoints import name_server
from halfsync.listening.listeners import Listener, UnixFile
from halfsync.runtime.originals import os, socket
from halfsync.runtime.standard import genuine

_NO_ID = 2**32 - 1  # of a user or group: for chown(2) it means "unchanged"


def open_unix(
    spec: str, bind: UnixBind, backlog: int, mode: int | None, owner: tuple[int, int] | None
) -> Listener:
    """Open a unix socket, and make its file. mode, owner: of the file; None: unchanged. Raises BindError."""
    abstract = bind.path.startswith("@")
    address = "\0" + bind.path[1:] if abstract else bind.path
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    file: UnixFile | None = None
    try:
        if not abstract:
            _remove_stale(spec, bind.path)
        sock.bind(address)
        if not abstract:
            found = os.lstat(bind.path)
            path = socket_file(bind)
            file = UnixFile(path, found.st_dev, found.st_ino, os.getpid())
            # No client can connect before the socket listens, so only clients that the mode allows ever can.
            _give_away(spec, path, mode, owner)
        sock.listen(backlog)
        sock.setblocking(False)
    except BaseException as error:
        # Close it as a listener, which removes its file too.
        Listener(sock, "", "", "", file).close()
        if isinstance(error, OSError):
            raise _refuse_unix(spec, error) from None
        raise
    return Listener(sock, *name_server(sock.fileno()), f"unix:{bind.path}", file)


def _give_away(spec: str, path: str, mode: int | None, owner: tuple[int, int] | None) -> None:
    """Set the owner and the permissions of a socket file. Raises OSError, or BindError if that is not allowed.

    The file is opened first, and then used by its descriptor and not by its name: a user who may write to the directory
    could put a link or another file in its place.
    """
    if owner is None and mode is None:
        return
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise BindError(
                "another process has replaced the socket file",
                origin=f"bind {spec}",
                remedy="choose a directory that no other user can write to",
            )
        opened = f"/proc/self/fd/{descriptor}"
        place = opened if os.path.exists(opened) else path  # without /proc, by its name after all
        if owner is not None:
            os.chown(place, *owner)
        if mode is not None:
            os.chmod(place, mode)
    except PermissionError as error:
        raise BindError(
            "the socket's owner or mode cannot be set: permission denied",
            origin=f"bind {spec}",
            remedy="start as root, or give only a group in unix_owner, one that this user belongs to",
            errno=error.errno,
        ) from None
    finally:
        os.close(descriptor)


def find_owner(text: str) -> tuple[int, int]:
    """Return the ids of "user", "user:group" or ":group"; -1: unchanged. Raises BindError for unknown names."""
    with genuine():
        import grp  # noqa: PLC0415 - few servers name an owner
        import pwd  # noqa: PLC0415

    user, _, group = text.partition(":")

    def find(kind: str, name: str, look_up: Callable[[str], int]) -> int:
        if name == "":
            return -1
        number = digits(name)
        if number is not None and number < _NO_ID:
            return number
        try:
            return look_up(name)
        except KeyError:
            raise BindError(
                f"there is no {kind} {name!r}",
                origin="unix_owner",
                remedy="check the name, or give its number",
            ) from None

    uid = find("user", user, lambda name: pwd.getpwnam(name).pw_uid)
    return uid, find("group", group, lambda name: grp.getgrnam(name).gr_gid)


def _remove_stale(spec: str, path: str) -> None:
    """Remove the socket file of a server that has died. Raises BindError for anything else at the path."""
    origin = f"bind {spec}"
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        remedy = "remove it, or choose another path"
        raise BindError(
            "the path exists and is not a socket", origin=origin, remedy=remedy, errno=errno.EEXIST
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A server with a full backlog must not block us: the call fails with EAGAIN, so the server is alive.
        probe.setblocking(False)
        refused = probe.connect_ex(path)
    if refused == errno.ECONNREFUSED:
        os.unlink(path)
    elif refused in (errno.EACCES, errno.EPERM):
        raise PermissionError(refused, os.strerror(refused))
    elif refused != errno.ENOENT:
        remedy = "stop it, or choose another path"
        problem = "another server is listening there"
        raise BindError(problem, origin=origin, remedy=remedy, errno=errno.EADDRINUSE)


def _refuse_unix(spec: str, error: OSError) -> BindError:
    if error.errno == errno.EADDRINUSE:
        problem, remedy = "another server is listening there", "stop it, or choose another name"
    elif error.errno in (errno.EACCES, errno.EPERM):
        problem, remedy = "permission denied", "choose a directory that this user may write to"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        problem, remedy = "the directory does not exist", "make it, or choose another path"
    else:
        problem, remedy = reason_of(error), "choose another path"
    return BindError(problem, origin=f"bind {spec}", remedy=remedy, errno=error.errno)
