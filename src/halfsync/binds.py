"""What ``--bind`` accepts, as records: read without a socket, so that settings can be checked alone."""

from dataclasses import dataclass

from halfsync.errors import UsageError

FORMS = (
    "HOST:PORT, [IPV6]:PORT, :PORT for all interfaces, unix:PATH, unix:@NAME, fd://N, systemd or systemd:NAME"
)
PORT_MAX = 65535
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
        digits = spec.removeprefix("fd://")
        if not _is_number(digits) or int(digits) > 2**31 - 1:
            raise UsageError(f"{spec!r} does not name a file descriptor", remedy="write it as fd://3")
        return FdBind(int(digits))
    if spec == "systemd" or spec.startswith("systemd:"):
        return _parse_systemd(spec)
    if "//" in spec:
        raise UsageError(f"{spec!r} is a URL, not an address", remedy=f"give {FORMS}")
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
    if not colon:
        remedy = f"write it as 127.0.0.1:{spec}" if _is_number(spec) else f"write it as {spec or 'HOST'}:8000"
        raise UsageError(f"{spec!r} is not an address with a port", remedy=remedy)
    if not _is_number(port) or int(port) > PORT_MAX:
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
    return TcpBind(host, int(port))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
