"""Opening the listeners that the settings name, all together or none."""

from collections.abc import Mapping, Sequence

from halfsync.errors import UsageError
from halfsync.listening.binds import Bind, FdBind, SystemdBind, TcpBind, UnixBind, is_secure, parse_bind
from halfsync.listening.listeners import Listener, close_all
from halfsync.listening.passed_sockets import find_passed, open_descriptor
from halfsync.listening.tcp_sockets import open_tcp
from halfsync.listening.unix_sockets import find_owner, open_unix


def open_listeners(
    binds: Sequence[str],
    backlog: int,
    *,
    unix_mode: int | None = None,
    unix_owner: str | None = None,
    passed: Mapping[int, int] | None = None,
    secure: bool = False,
) -> list[Listener]:
    """Open a listening socket for each bind, or none: if one fails, those before it are closed again.

    A bind may give several listeners: a name with several addresses; ``:PORT``, which has separate sockets for IPv4 and
    IPv6, so that applications see plain IPv4 addresses; or ``systemd``, which is all that systemd passes. ``backlog``
    is the length of the kernel's queue of connections for each socket. ``unix_mode`` and ``unix_owner`` are for the
    socket files that are made: permission bits (None: by the umask), and "user", "user:group" or ":group". ``passed``:
    the inodes of the sockets that the program was started with, by descriptor (None: every open one is accepted).
    ``secure``: binds that do not say otherwise speak TLS.
    Raises UsageError for a bind that cannot be read, BindError for one that cannot be opened.
    """
    owner = find_owner(unix_owner) if unix_owner is not None else None
    parsed: list[tuple[str, Bind]] = []
    for spec in binds:
        try:
            parsed.append((spec, parse_bind(spec)))
        except UsageError as error:
            raise UsageError(error.problem, origin="bind", remedy=error.remedy) from None
    opened: list[Listener] = []
    try:
        for spec, bind in parsed:
            before = len(opened)
            match bind:
                case TcpBind():
                    opened += open_tcp(spec, bind, backlog)
                case UnixBind():
                    opened.append(open_unix(spec, bind, backlog, unix_mode, owner))
                case FdBind():
                    opened.append(open_descriptor(spec, bind, opened, passed))
                case SystemdBind():
                    for descriptor in find_passed(spec, bind):
                        opened.append(open_descriptor(spec, FdBind(descriptor), opened, passed))
            opened[before:] = [one.secured(is_secure(spec, secure)) for one in opened[before:]]
    except BaseException:
        close_all(opened)
        raise
    return opened
