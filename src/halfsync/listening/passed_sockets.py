"""Listening sockets that this program was started with: by number, or from systemd."""

import errno
from collections.abc import Mapping, Sequence

from halfsync.errors import BindError
from halfsync.listening.activation import socket_inode, take
from halfsync.listening.binds import FdBind, SystemdBind
from halfsync.listening.listeners import Listener, describe_socket
from halfsync.runtime.originals import socket


def find_passed(spec: str, bind: SystemdBind) -> list[int]:
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


def open_descriptor(
    spec: str, bind: FdBind, others: Sequence[Listener], passed: Mapping[int, int] | None
) -> Listener:
    """Return the listener of an open descriptor.

    others: listeners that were opened before, of which it must be none. passed: as for `open_listeners`. Raises
    BindError.
    """

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
