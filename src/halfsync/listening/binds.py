"""What ``--bind`` accepts, as records. No socket is needed to read them, so settings can be checked alone."""

from dataclasses import dataclass

from halfsync.amounts import digits
from halfsync.errors import UsageError
from halfsync.runtime.originals import os, socket

FORMS = (
    "HOST:PORT, [IPV6]:PORT, :PORT for all interfaces, unix:PATH, unix:@NAME, fd://N, systemd or systemd:NAME, with "
    "https:// before it for TLS, or http://"
)
PORT_MAX = 65535
LEAST_PORT = 80  # for a number after a slash, or after an IPv6 address without brackets, to be a port
EXAMPLE_PORT = "8000"
SCHEMES = ("tcp", "tcp4", "tcp6", "http", "https")  # that other servers accept before an address
_ALL_IPV4, _ALL = (
    bytes(4),
    bytes(16),
)  # wildcard addresses; the IPv6 one accepts IPv4 too (tcp_sockets.py)
UNIX_PATH_BYTES = 107  # sun_path has 108 bytes, and ends with NUL (unix(7))


@dataclass(frozen=True, slots=True)
class TcpBind:
    """A TCP address. ``host``: a name, or an address without brackets, or "" for all interfaces."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnixBind:
    """A unix socket. ``path``: in the file system, or a name beginning with "@" in the abstract namespace."""

    path: str


@dataclass(frozen=True, slots=True)
class FdBind:
    """A listening socket that the server's parent process has passed, by its descriptor."""

    fd: int


@dataclass(frozen=True, slots=True)
class SystemdBind:
    """The listening sockets that systemd passes: those whose unit gives them this name, or all ("")."""

    name: str


Bind = TcpBind | UnixBind | FdBind | SystemdBind


class _Refused(Exception):  # noqa: N818 - it becomes a UsageError
    """A bind is rejected. meant: another bind that may be meant; more: text to follow that in the remedy."""

    def __init__(self, problem: str, meant: str = "", more: str = "") -> None:
        super().__init__(problem)
        self.problem, self.meant, self.more = problem, meant, more


def parse_bind(spec: str) -> Bind:
    """Return the bind that a user's text means. Raises UsageError that says what is wrong with it."""
    try:
        return _read(spec)
    except _Refused as error:
        # Do not advise what would be rejected too.
        meant = error.meant and _is_accepted(error.meant)
        scheme = split_scheme(spec)[0]
        before = f"{scheme}://" if scheme else ""
        remedy = f"write it as {before}{error.meant}{error.more}" if meant else f"give {FORMS}"
        raise UsageError(error.problem, remedy=remedy) from None


def split_scheme(spec: str) -> tuple[str, str]:
    """Return what a bind begins with, "http", "https" or "", and its address. A slash after a port is dropped."""
    for scheme in ("http", "https"):
        if spec.lower().startswith(f"{scheme}://"):
            rest = spec[len(scheme) + 3 :]
            return scheme, rest if rest.startswith(("unix:", "/")) else rest.removesuffix("/")
    return "", spec


def is_secure(spec: str, default: bool) -> bool:
    """Return whether a bind speaks TLS. default: those that do not say."""
    scheme, _ = split_scheme(spec)
    return scheme == "https" if scheme else default


def _is_accepted(spec: str) -> bool:
    try:
        _read(spec)
    except (_Refused, UsageError):
        return False
    return True


def _read(spec: str) -> Bind:
    """Return the bind that a text means. Raises UsageError, or _Refused."""
    _, spec = split_scheme(spec)
    if spec.startswith("unix:"):
        return _parse_unix(spec)
    if spec.startswith("fd://"):
        number = digits(spec.removeprefix("fd://"))
        if number is None or number > 2**31 - 1:
            raise UsageError(f"{spec!r} does not name a file descriptor", remedy="write it as fd://3")
        return FdBind(number)
    if spec == "systemd" or spec.startswith("systemd:"):
        return _parse_systemd(spec)
    _refuse_other_forms(spec)
    return _parse_tcp(spec)


def _refuse_other_forms(spec: str) -> None:
    """Raise _Refused for a text that means something other than an address with a port."""
    scheme, _, rest = spec.partition(":")
    lower = scheme.lower()
    if spec.startswith("@") and len(spec) > 1:
        raise _Refused(f"{spec!r} does not say that it is a unix socket", f"unix:{spec}")
    if lower in ("unix", "systemd") and scheme != lower and digits(rest) is None:
        raise _Refused(f"{spec!r} does not begin in lower case", f"{lower}:{rest}".rstrip(":"))
    if lower == "fd" and digits(rest.strip("/")) is not None:
        raise _Refused(f"{spec!r} does not name a file descriptor", f"fd://{rest.strip('/')}")
    if spec.startswith(("/", "./", "../", "~/")) or spec.endswith((".sock", ".socket")):
        path = f"/{spec.lstrip('/')}" if spec.startswith("//") else os.path.expanduser(spec)
        raise _Refused(f"{spec!r} is a path, not an address", f"unix:{path}")
    if "//" in spec:
        host = spec.partition("//")[2].partition("/")[0]
        raise _Refused(f"{spec!r} is a URL, not an address", host if ":" in host else "")
    if lower in SCHEMES and ":" in rest:
        raise _Refused(f"{spec!r} is a URL, not an address", rest.partition("/")[0])
    if "/" in spec and (address := _find_before_slash(spec)):
        raise _Refused(f"{spec!r} is an address with a slash", address)
    if "/" in spec:
        raise _Refused(f"{spec!r} is a path, not an address", f"unix:{spec}")


def _find_before_slash(spec: str) -> str:
    """Return the address in a text with a slash after the address, or before its port; "": it is probably a path."""
    host, _, rest = spec.partition("/")
    if ":" in host and _is_accepted(host):
        return host
    bare = host.removeprefix("[").removesuffix("]")
    is_address = host == "localhost" or _is_address(socket.AF_INET, host) or _is_ipv6(bare)
    if is_address and LEAST_PORT <= (digits(rest) or 0) <= PORT_MAX:
        return f"[{bare}]:{rest}" if ":" in bare else f"{host}:{rest}"
    return ""


def _parse_unix(spec: str) -> UnixBind:
    path = spec.removeprefix("unix:")
    if path.startswith("//"):
        # unix:///run/x.sock, the form of a URL, means the same absolute path.
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
            f"{spec!r} does not name a systemd socket",
            remedy="write it as systemd:NAME, with the FileDescriptorName= of the socket unit, or systemd for all",
        )
    return SystemdBind(name)


def _parse_tcp(spec: str) -> TcpBind:
    host, colon, port = spec.rpartition(":")
    if address := _find_ipv6(spec):
        raise _Refused(f"{spec!r} is an IPv6 address without brackets and port", address)
    if "*" in (host, spec):
        raise _Refused(f"{spec!r} has no host", f":{port if colon else EXAMPLE_PORT}", " for all interfaces")
    if not colon:
        alone = digits(spec) is not None
        meant = f"127.0.0.1:{spec}" if alone else f"{spec or 'HOST'}:{EXAMPLE_PORT}"
        has_name = any(character.isalnum() for character in spec or "HOST")
        raise _Refused(f"{spec!r} is not an address with a port", meant if has_name else "")
    number = digits(port)
    if number is None or number > PORT_MAX:
        raise UsageError(f"{port!r} in {spec!r} is not a port", remedy=f"give a number from 0 to {PORT_MAX}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise _Refused(
                f"{spec!r} has brackets around something that is not an IPv6 address", f"{host}:{port}"
            )
    elif any(character.isspace() or character in ",:[]" for character in host):
        raise _Refused(f"{host!r} in {spec!r} is not a host")
    return TcpBind(host, number)


def _find_ipv6(spec: str) -> str:
    """Return the right form of an IPv6 address without brackets or port; "": it is not such an address."""
    host, bracket, port = spec.removeprefix("[").partition("]")
    if bracket:
        if spec.startswith("[") and port.startswith(":"):
            return ""
        port = port.removeprefix(":") or EXAMPLE_PORT
    else:
        start, _, end = host.rpartition(":")
        if _is_ipv6(start) and LEAST_PORT <= (digits(end) or 0) <= PORT_MAX:
            host, port = start, end  # more likely a port than the last part of an address
        else:
            port = EXAMPLE_PORT
    return f"[{host}]:{port}" if _is_ipv6(host) and digits(port) is not None else ""


def _is_ipv6(text: str) -> bool:
    """Return whether this is an IPv6 address, with or without the name of an interface."""
    address, percent, interface = text.partition("%")
    named = bool(interface) and not any(character.isspace() or character in ":/[]" for character in interface)
    return _is_address(socket.AF_INET6, address) and (named or not percent)


def _is_address(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def overlap(one: Bind, other: Bind) -> bool:
    """Return whether two binds name the same listener, or addresses of which one includes the other.

    False: they do not, or only opening them would show it, as names are not resolved here. Port 0 differs each time.
    """
    match one, other:
        case TcpBind(), TcpBind():
            return 0 != one.port == other.port and _overlap_hosts(one.host, other.host)
        case UnixBind(), UnixBind():
            return _real_path(one.path) == _real_path(other.path)
        case SystemdBind(), SystemdBind():
            return "" in (one.name, other.name) or one.name == other.name
    return one == other


def socket_file(bind: Bind) -> str:
    """Return the full path, without links, of the file that a bind makes; "": it makes none.

    A relative path begins in the working directory; if that was removed, the path is returned unchanged.
    """
    if not isinstance(bind, UnixBind) or bind.path.startswith("@"):
        return ""
    directory, name = os.path.split(bind.path)
    try:
        return os.path.join(os.path.realpath(directory or "."), name)
    except FileNotFoundError:
        return bind.path


def has_any_port(bind: Bind) -> bool:
    """Return whether the system chooses the port, so that two listeners of this bind differ."""
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
    """Return the bytes of an address in any notation; None: it is a name."""
    try:
        return socket.inet_pton(socket.AF_INET6, host) if ":" in host else socket.inet_aton(host)
    except (OSError, UnicodeError):
        return None


def _real_path(path: str) -> str:
    return path if path.startswith("@") else os.path.realpath(path)
