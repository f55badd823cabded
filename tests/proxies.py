"""Headers of the PROXY protocol, as proxies send them, and the addresses of peers."""

import socket
import struct
from collections.abc import Iterable

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
UNSPECIFIED, TCP4, TCP6, UNIX = 0x00, 0x11, 0x21, 0x31
TLVS = [(0x04, b"padding"), (0x03, b"\x12\x34\x56\x78"), (0x20, b"\x01\0\0\0\0"), (0x02, b"")]


def line(client: str, port: int, server: str = "", server_port: int = 443) -> bytes:
    """Return a header of version 1."""
    family, default = ("TCP6", "2001:db8::1") if ":" in client else ("TCP4", "192.0.2.1")
    return f"PROXY {family} {client} {server or default} {port} {server_port}\r\n".encode()


def binary(
    client: str = "", port: int = 0, *, command: int = PROXY, tlvs: Iterable[tuple[int, bytes]] = ()
) -> bytes:
    """Return a header of version 2; client: "" for one of a unix socket."""
    if not client:
        family, addresses = UNIX, b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
    elif ":" in client:
        family = TCP6
        addresses = socket.inet_pton(socket.AF_INET6, client) + socket.inet_pton(
            socket.AF_INET6, "2001:db8::1"
        )
    else:
        family, addresses = TCP4, socket.inet_aton(client) + socket.inet_aton("192.0.2.1")
    if client:
        addresses += struct.pack("!HH", port, 443)
    return raw(command, family, addresses + b"".join(tlv(kind, value) for kind, value in tlvs))


def raw(command: int, family: int, rest: bytes) -> bytes:
    """Return a header of version 2 with any content."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest)) + rest


def tlv(kind: int, value: bytes) -> bytes:
    """Return a type-length-value of a header of version 2."""
    return struct.pack("!BH", kind, len(value)) + value


def sockaddr(host: str, port: int = 0) -> bytes:
    """Return a peer's socket address as the kernel gives it; host: "" for a unix socket."""
    if not host:
        return struct.pack("=H", socket.AF_UNIX)
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
        return struct.pack("=HHI16sI", socket.AF_INET6, socket.htons(port), 0, packed, 0)
    return struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton(host))
