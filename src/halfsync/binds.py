"""What ``--bind`` accepts, as records: read without a socket, so that settings can be checked alone."""

from dataclasses import dataclass

from halfsync.amounts import digits
from halfsync.errors import UsageError
from halfsync.originals import os, socket

FORMS = (
    "HOST:PORT, [IPV6]:PORT, :PORT for all interfaces, unix:PATH, unix:@NAME, fd://N, systemd or systemd:NAME"
)
PORT_MAX = 65535
LEAST_PORT = 80  # that a number behind an address of IPv6 without brackets is taken for
_ALL_IPV4, _ALL = bytes(4), bytes(16)  # wildcard addresses; that of IPv6 takes IPv4 too (listeners.py)
UNIX_PATH_BYTES = 107  # sun_path holds 108 bytes and ends with NUL (unix(7))


@dataclass(frozen=True, slots=True)
class TcpBind:
    """A TCP address: ``host`` is a name or an address without brackets, or "" for all interfaces."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixBind:
    """A unix socket: ``path`` in the file system, or a name starting with "@" in the abstract namespace."""

    path: str


@dataclass(frozen=True, slots=True)
class FdBind:
    """A listening socket inherited from whoever started the server, by its descriptor."""

    fd: int


@dataclass(frozen=True, slots=True)
class SystemdBind:
    """The listening sockets that systemd passes: those whose unit gives them this name, or all ("")."""

    name: str


Bind = TcpBind | UnixBind | FdBind | SystemdBind


def parse_bind(spec: str) -> Bind:
    """Read one bind as the user wrote it; raises UsageError saying what is wrong with it."""
    if spec.startswith("unix:"):
        return _parse_unix(spec)
    if spec.startswith("fd://"):
        number = digits(spec.removeprefix("fd://"))
        if number is None or number > 2**31 - 1:
            raise UsageError(f"{spec!r} does not name a file descriptor", remedy="write it as fd://3")
        return FdBind(number)
    if spec == "systemd" or spec.startswith("systemd:"):
        return _parse_systemd(spec)
    if "//" in spec:
        _, _, rest = spec.partition("//")
        host = rest.partition("/")[0]
        remedy = f"write it as {host}" if ":" in host else f"give {FORMS}"
        raise UsageError(f"{spec!r} is a URL, not an address", remedy=remedy)
    scheme, _, rest = spec.rpartition(":")
    if spec.startswith("@") and len(spec) > 1:
        raise UsageError(f"{spec!r} does not say that it is a unix socket", remedy=f"write it as unix:{spec}")
    if scheme == "fd" and digits(rest) is not None:
        raise UsageError(f"{spec!r} does not name a file descriptor", remedy=f"write it as fd://{rest}")
    if "/" in spec or spec.endswith((".sock", ".socket")):
        raise UsageError(f"{spec!r} is a path, not an address", remedy=f"write it as unix:{spec}")
    return _parse_tcp(spec)


def _parse_unix(spec: str) -> UnixBind:
    path = spec.removeprefix("unix:")
    if path.startswith("//"):
        # unix:///run/x.sock is how URLs spell it: the same absolute path.
        path = path.removeprefix("//")
    if path in ("", "@") or "\0" in path:
        raise UsageError(f"{spec!r} names no path", remedy="write it as unix:/run/app.sock or unix:@name")
    if len(path.encode("utf-8", "surrogateescape")) > UNIX_PATH_BYTES:
        raise UsageError(
            f"{spec!r} is longer than the {UNIX_PATH_BYTES} bytes a unix socket's path may have",
            remedy="choose a shorter path",
        )
    return UnixBind(path)


def _parse_systemd(spec: str) -> SystemdBind:
    name = spec.removeprefix("systemd").removeprefix(":")
    if (
        (not name and spec != "systemd")
        or ":" in name
        or not name.isascii()
        or not name.replace(" ", "x").isprintable()
    ):
        raise UsageError(
            f"{spec!r} does not name a socket of systemd's",
            remedy="write it as systemd:NAME, with the FileDescriptorName= of the socket unit, or systemd for all",
        )
    return SystemdBind(name)


def _parse_tcp(spec: str) -> TcpBind:
    host, colon, port = spec.rpartition(":")
    if spec.count(":") > 1 and (address := _find_ipv6(spec)):
        raise UsageError(
            f"{spec!r} is an IPv6 address without brackets and port", remedy=f"write it as {address}"
        )
    if host == "*":
        raise UsageError(f"{spec!r} has no host", remedy=f"write it as :{port} for all interfaces")
    if not colon:
        alone = digits(spec) is not None
        remedy = f"write it as 127.0.0.1:{spec}" if alone else f"write it as {spec or 'HOST'}:8000"
        raise UsageError(f"{spec!r} is not an address with a port", remedy=remedy)
    number = digits(port)
    if number is None or number > PORT_MAX:
        raise UsageError(f"{port!r} in {spec!r} is not a port", remedy=f"give a number from 0 to {PORT_MAX}")
    if any(character.isspace() for character in host) or "/" in host or "," in host:
        raise UsageError(f"{host!r} in {spec!r} is not a host", remedy=f"give {FORMS}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise UsageError(f"{spec!r} has brackets around no IPv6 address", remedy=f"give {FORMS}")
    elif ":" in host:
        raise UsageError(
            f"{spec!r} has an IPv6 address without brackets", remedy=f"write it as [{host}]:{port}"
        )
    return TcpBind(host, number)


def _find_ipv6(spec: str) -> str:
    """Return how an address of IPv6 that lacks its brackets, or its port, is written; "": it is none."""
    from ipaddress import IPv6Address  # noqa: PLC0415 - only a mistake needs it

    if spec.startswith("[") and "]:" in spec:
        return ""

    def is_address(text: str) -> bool:
        try:
            IPv6Address(text)
        except ValueError:
            return False
        return True

    bare = spec.removeprefix("[").removesuffix("]")
    host, _, port = spec.rpartition(":")
    if is_address(host) and LEAST_PORT <= (digits(port) or 0) <= PORT_MAX:
        return f"[{host}]:{port}"  # a port rather than the last piece of an address
    return f"[{bare}]:8000" if is_address(bare) else ""


def overlap(one: Bind, other: Bind) -> bool:
    """Tell whether two binds name the same listener, or addresses of which one includes the other.

    False: they do not, or it shows only as they are opened: names are not resolved here. Port 0 is another each time.
    """
    match one, other:
        case TcpBind(), TcpBind():
            return 0 != one.port == other.port and _overlap_hosts(one.host, other.host)
        case UnixBind(), UnixBind():
            return _real_path(one.path) == _real_path(other.path)
        case SystemdBind(), SystemdBind():
            return "" in (one.name, other.name) or one.name == other.name
    return one == other


def has_any_port(bind: Bind) -> bool:
    """Tell whether the system chooses the port, so that two listeners of this bind are not the same."""
    return isinstance(bind, TcpBind) and bind.port == 0


def _overlap_hosts(one: str, other: str) -> bool:
    if "" in (one, other) or one.casefold() == other.casefold():
        return True
    addresses = {_numeric(one), _numeric(other)}
    if None in addresses:
        return False
    is_ipv4 = [address is not None and len(address) == len(_ALL_IPV4) for address in addresses]
    return len(addresses) == 1 or _ALL in addresses or (_ALL_IPV4 in addresses and all(is_ipv4))


def _numeric(host: str) -> bytes | None:
    """Return the bytes of an address, however it is spelled; None: it is a name."""
    try:
        return socket.inet_pton(socket.AF_INET6, host) if ":" in host else socket.inet_aton(host)
    except (OSError, UnicodeError):
        return None


def _real_path(path: str) -> str:
    return path if path.startswith("@") else os.path.realpath(path)
