"""Listening sockets: opened all together or not at all, and described as the application sees them."""

import errno
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from halfsync.amounts import digits
from halfsync.errors import BindError, UsageError, reason_of
from halfsync.listening.activation import socket_inode, take
from halfsync.listening.binds import Bind, FdBind, SystemdBind, TcpBind, UnixBind, parse_bind, socket_file
from halfsync.listening.endpoints import name_server
from halfsync.runtime.originals import os, socket
from halfsync.runtime.standard import genuine

__all__ = [
    "Bind",
    "FdBind",
    "Listener",
    "SystemdBind",
    "TcpBind",
    "UnixBind",
    "open_listeners",
    "parse_bind",
]

AddressFamily = socket.AddressFamily

# One of several addresses may be missing without harm: a machine without IPv6 still has a localhost.
_ADDRESS_MISSING = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_PRIVILEGED_PORTS = 1024
_NO_ID = 2**32 - 1  # of a user or group: for chown(2) it means "unchanged"


@dataclass(frozen=True, slots=True)
class UnixFile:
    """A socket file, identified by its inode, so that another's file is never removed.

    path: the full path without links, since a link to its directory may be switched. process: the pid of the process
    that must remove the file: it made the file, or has taken the place of the process that did.
    """

    path: str
    device: int
    inode: int
    process: int


class Made(NamedTuple):
    """Values of the settings that affect a socket only when it is opened."""

    backlog: int
    unix_mode: int | None
    unix_owner: str | None


@dataclass(frozen=True, slots=True)
class Listener:
    """An open listening socket, non-blocking and not inherited by programs that the server starts.

    ``server_name`` and ``server_port`` go into the environ. For TCP they are the socket's own address, with IPv6 in
    brackets as in RFC 3875. A unix socket has no host and no port, and PEP 3333 forbids empty strings, so they are
    ``localhost`` and ``80``: applications behind a proxy take both from Host, and for an HTTP/1.0 request without Host
    these values give at least a valid URL. ``url`` is for people. The opener owns the listener and closes it. Two
    listeners are equal even if different processes must remove the socket file. ``made``: the settings with which it
    was opened, if they are known.
    """

    socket: socket.socket
    server_name: str
    server_port: str
    url: str
    file: UnixFile | None = field(default=None, compare=False)
    made: Made | None = field(default=None, compare=False)

    @property
    def family(self) -> AddressFamily:
        """The address family of the socket: AF_INET, AF_INET6 or AF_UNIX."""
        return AddressFamily(self.socket.family)

    @property
    def place(self) -> str:
        """The ``url``, but with the full path of a socket file."""
        return self.url if self.file is None else f"unix:{self.file.path}"

    def close(self) -> None:
        """Close the socket, and remove its file if that is still ours, and this process must remove it.

        Only the first call removes the file: another server's file may have the same inode later.
        """
        is_open = self.socket.fileno() >= 0
        self.socket.close()
        if is_open and self.file is not None:
            remove_file(self.file)


def close_all(listeners: Iterable[Listener]) -> None:
    """Close these listeners."""
    for listener in listeners:
        listener.close()


def refuse_shared(listeners: Iterable[Listener], admin: Iterable[Listener], *, origin: str) -> None:
    """Reject probes on a socket that is also the application's, even if it was passed under two names.

    Raises UsageError. origin: of `admin_bind`.
    """
    sockets = {os.fstat(listener.socket.fileno()).st_ino: listener.url for listener in listeners}
    for listener in admin:
        if (url := sockets.get(os.fstat(listener.socket.fileno()).st_ino)) is not None:
            raise UsageError(
                f"admin_bind and bind are the same socket, {url}, and probes need an address of their own",
                origin=origin,
                remedy="pass another socket, or choose another address",
            )


def remove_file(file: UnixFile) -> None:
    """Remove a socket file, if it is still the one that was made, and this process must remove it."""
    # A forked child that closes its copy must not remove its parent's file.
    if file.process != os.getpid():
        return
    try:
        found = os.lstat(file.path)
        if (found.st_dev, found.st_ino) == (file.device, file.inode):
            os.unlink(file.path)
    except OSError:
        pass  # it is gone already, or its directory is: there is nothing to remove


def open_listeners(
    binds: Sequence[str],
    backlog: int,
    *,
    unix_mode: int | None = None,
    unix_owner: str | None = None,
    passed: Mapping[int, int] | None = None,
) -> list[Listener]:
    """Open a listening socket for each bind, or none: if one fails, those before it are closed again.

    A bind may give several listeners: a name with several addresses; ``:PORT``, which has separate sockets for IPv4 and
    IPv6, so that applications see plain IPv4 addresses; or ``systemd``, which is all that systemd passes. ``backlog``
    is the length of the kernel's queue of connections for each socket. ``unix_mode`` and ``unix_owner`` are for the
    socket files that are made: permission bits (None: by the umask), and "user", "user:group" or ":group". ``passed``:
    the inodes of the sockets that the program was started with, by descriptor (None: every open one is accepted).
    Raises UsageError for a bind that cannot be read, BindError for one that cannot be opened.
    """
    owner = _find_owner(unix_owner) if unix_owner is not None else None
    parsed: list[tuple[str, Bind]] = []
    for spec in binds:
        try:
            parsed.append((spec, parse_bind(spec)))
        except UsageError as error:
            raise UsageError(error.problem, origin="bind", remedy=error.remedy) from None
    opened: list[Listener] = []
    try:
        for spec, bind in parsed:
            match bind:
                case TcpBind():
                    opened += _open_tcp(spec, bind, backlog)
                case UnixBind():
                    opened.append(_open_unix(spec, bind, backlog, unix_mode, owner))
                case FdBind():
                    opened.append(_open_fd(spec, bind, opened, passed))
                case SystemdBind():
                    for descriptor in _passed(spec, bind):
                        opened.append(_open_fd(spec, FdBind(descriptor), opened, passed))
    except BaseException:
        close_all(opened)
        raise
    return opened


def _open_tcp(spec: str, bind: TcpBind, backlog: int) -> list[Listener]:
    opened: list[Listener] = []
    missing: OSError | None = None
    port = bind.port
    try:
        for family, host in _addresses(spec, bind):
            try:
                listener = _listen_tcp(family, host, port, backlog, alone=bind.host != "")
            except OSError as error:
                if error.errno not in _ADDRESS_MISSING:
                    raise
                missing = error
            else:
                opened.append(listener)
                # For port 0 the kernel chooses a port for the first address, and the others get the same.
                port = int(listener.server_port)
        if missing is not None and not opened:
            raise missing
    except OSError as error:
        close_all(opened)
        raise _refuse_tcp(spec, bind, error) from None
    return opened


def _addresses(spec: str, bind: TcpBind) -> list[tuple[socket.AddressFamily, str]]:
    """Return the addresses of a host, in the resolver's order, each once."""
    if bind.host == "":
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    try:
        # Bytes are looked up unchanged: the codec for names in other alphabets is large, and rarely needed.
        host = bind.host.encode() if bind.host.isascii() else bind.host
        found = socket.getaddrinfo(host, bind.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "not a host name"
        raise BindError(
            f"the host {bind.host!r} is unknown ({reason})",
            origin=f"bind {spec}",
            remedy="check the name, or give an address such as 127.0.0.1 or 0.0.0.0",
            errno=error.errno if isinstance(error, OSError) else None,
        ) from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _listen_tcp(family: socket.AddressFamily, host: str, port: int, backlog: int, *, alone: bool) -> Listener:
    """Open one address. An IPv6 wildcard that is ``alone`` accepts IPv4 too, as people expect of [::]."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # On Linux accepted sockets inherit this option, which saves a system call for each connection.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if alone else 1)
        sock.bind((host, port))
        sock.listen(backlog)
        sock.setblocking(False)
        return describe_socket(sock)
    except BaseException:
        sock.close()
        raise


def _refuse_tcp(spec: str, bind: TcpBind, error: OSError) -> BindError:
    if error.errno == errno.EADDRINUSE:
        problem = "the address is in use"
        remedy = "stop the program that has it, or choose another port with -b"
    elif error.errno in (errno.EACCES, errno.EPERM):
        problem = "permission denied"
        if 0 < bind.port < _PRIVILEGED_PORTS:
            problem += f": port {bind.port} is below {_PRIVILEGED_PORTS}"
        remedy = "choose a higher port with -b, or grant CAP_NET_BIND_SERVICE"
    elif error.errno in _ADDRESS_MISSING:
        problem = "this machine has no such address"
        remedy = "use one of its own, or 0.0.0.0 for all"
    else:
        problem, remedy = reason_of(error), "choose another address with -b"
    return BindError(problem, origin=f"bind {spec}", remedy=remedy, errno=error.errno)


def _open_unix(
    spec: str, bind: UnixBind, backlog: int, mode: int | None, owner: tuple[int, int] | None
) -> Listener:
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
                "another process has replaced the socket's file",
                origin=f"bind {spec}",
                remedy="choose a directory that no other user may write to",
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
            remedy="start as root, or name in unix_owner a group that this user is a member of, and no user",
            errno=error.errno,
        ) from None
    finally:
        os.close(descriptor)


def _find_owner(text: str) -> tuple[int, int]:
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


def _passed(spec: str, bind: SystemdBind) -> list[int]:
    """Return the descriptors that systemd passes under a name, or all. Raises BindError if there are none."""
    origin = f"bind {spec}"
    activation = take()
    if not activation.sockets:
        raise BindError(
            f"systemd has passed no socket: {activation.problem}",
            origin=origin,
            remedy="start the server by a service with a socket unit; a script in between must end in exec",
        )
    found = [passed.descriptor for passed in activation.sockets if bind.name in ("", passed.name)]
    if not found:
        names = ", ".join(dict.fromkeys(passed.name for passed in activation.sockets))
        raise BindError(
            f"systemd has passed no socket of this name, only {names}",
            origin=origin,
            remedy="set FileDescriptorName= in the socket unit",
        )
    return found


def _open_fd(
    spec: str, bind: FdBind, others: Sequence[Listener], passed: Mapping[int, int] | None
) -> Listener:
    def refuse(problem: str, number: int | None = None) -> BindError:
        remedy = "pass a listening socket, for example from a systemd socket unit"
        return BindError(problem, origin=f"bind {spec}", remedy=remedy, errno=number)

    if any(other.socket.fileno() == bind.fd for other in others):
        raise BindError(
            f"descriptor {bind.fd} is bound already", origin=f"bind {spec}", remedy="name each socket once"
        )
    if passed is not None:
        _refuse_other(spec, bind.fd, passed)
    try:
        sock = socket.socket(fileno=bind.fd)
    except OSError as error:
        open_but_other = error.errno == errno.ENOTSOCK
        problem = f"descriptor {bind.fd} is {'not a socket' if open_but_other else 'not open'}"
        raise refuse(problem, error.errno) from None
    try:
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise refuse(f"descriptor {bind.fd} is a socket that does not listen", errno.EINVAL)
        if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
            raise refuse(f"descriptor {bind.fd} is neither a TCP nor a unix socket", errno.EAFNOSUPPORT)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.set_inheritable(False)
        sock.setblocking(False)
        return describe_socket(sock)
    except BaseException:
        sock.detach()  # the program that passed the descriptor still owns it
        raise


def _refuse_other(spec: str, descriptor: int, passed: Mapping[int, int]) -> None:
    """Raise BindError for a socket that this program was not started with, even if its number was passed."""
    inode = socket_inode(descriptor)
    if inode == passed.get(descriptor, 0):
        return
    if descriptor in passed:
        problem = f"descriptor {descriptor} was closed by an earlier reload that did not name it"
        remedy = "restart the server, so that it is passed again"
    else:
        problem = f"descriptor {descriptor} is the server's own socket, and was not passed to it"
        remedy = "pass a listening socket, for example from a systemd socket unit"
    raise BindError(problem, origin=f"bind {spec}", remedy=remedy, errno=errno.EBADF)


def describe_socket(sock: socket.socket) -> Listener:
    """Return the listener of a socket, named by the socket's real address."""
    host, port = name_server(sock.fileno())
    if sock.family == socket.AF_UNIX:
        path = os.fsdecode(sock.getsockname())
        shown = "@" + path[1:] if path.startswith("\0") else path
        return Listener(sock, host, port, f"unix:{shown}")
    return Listener(sock, host, port, f"http://{host}:{port}")
