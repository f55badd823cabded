"""Listening TCP sockets."""

import errno

from halfsync.errors import BindError, reason_of
from halfsync.listening.binds import TcpBind
from halfsync.listening.listeners import Listener, close_all, describe_socket
from halfsync.runtime.originals import socket

# One of several addresses may be missing without harm: a machine without IPv6 still has a localhost.
_ADDRESS_MISSING = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_PRIVILEGED_PORTS = 1024


def open_tcp(spec: str, bind: TcpBind, backlog: int) -> list[Listener]:
    """Open a socket for each address of a bind. spec: the bind as it was written. Raises BindError."""
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
