"""A listening socket, described as the application sees it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from halfsync.errors import UsageError
from halfsync.listening.endpoints import name_server
from halfsync.runtime.originals import os, socket

AddressFamily = socket.AddressFamily


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
    was opened, if they are known. ``secure``: its connections speak TLS.
    """

    socket: socket.socket
    server_name: str
    server_port: str
    url: str = field(compare=False)
    file: UnixFile | None = field(default=None, compare=False)
    made: Made | None = field(default=None, compare=False)
    secure: bool = field(default=False, compare=False)

    def secured(self, secure: bool) -> Self:
        """Return this listener with TLS, or without it."""
        _, colon, rest = self.url.partition("://")
        url = f"{'https' if secure else 'http'}://{rest}" if colon else self.url
        return self if secure == self.secure else replace(self, secure=secure, url=url)

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


def describe_socket(sock: socket.socket) -> Listener:
    """Return the listener of a socket, named by the socket's real address."""
    host, port = name_server(sock.fileno())
    if sock.family == socket.AF_UNIX:
        path = os.fsdecode(sock.getsockname())
        shown = "@" + path[1:] if path.startswith("\0") else path
        return Listener(sock, host, port, f"unix:{shown}")
    return Listener(sock, host, port, f"http://{host}:{port}")
