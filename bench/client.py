"""A small HTTP client on bare sockets: single requests, and herds of idle connections."""

from __future__ import annotations

import select
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

HOST = "127.0.0.1"
ANSWER_S = 10
"""How long one answer may take before the server counts as failed."""
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing thousands of connections must not leave their ports in TIME_WAIT."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One response: its status, its head as it came, and its body."""

    status: int
    head: bytes
    body: bytes


def connect(port: int, source: str = "") -> socket.socket:
    """Open a connection, from a source address if one is named."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    sock.settimeout(ANSWER_S)
    try:
        if source:
            sock.bind((source, 0))
        sock.connect((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock


def ask(sock: socket.socket, path: str, body: bytes = b"", headers: tuple[str, ...] = ()) -> Reply:
    """Send one request and read its response by its Content-Length. OSError or ValueError if it fails."""
    lines = [f"{'POST' if body else 'GET'} {path} HTTP/1.1", f"Host: {HOST}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _some(sock)
    head = bytes(data[: end + 4])
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    if b"content-length" not in fields:
        raise ValueError("the response has no Content-Length")
    whole = len(head) + int(fields[b"content-length"])
    while len(data) < whole:
        data += _some(sock)
    return Reply(int(head.split(None, 2)[1]), head, bytes(data[len(head) :]))


def _some(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 20)
    if not data:
        raise ConnectionError("the server closed the connection before its answer was complete")
    return data


def ask_once(port: int, path: str, body: bytes = b"", headers: tuple[str, ...] = ()) -> Reply:
    """One request on a connection of its own."""
    with connect(port) as sock:
        return ask(sock, path, body, headers)


def ephemeral_ports() -> int:
    """How many connections one source address can hold to one server port."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return high - low + 1


class Herd:
    """Idle keep-alive connections, each of which has had one request answered; closed by the `with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Herd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in self._sockets:
            sock.close()

    def grow(self, count: int, deadline: float) -> str:
        """Open connections until there are `count`; return why it stopped early, or nothing.

        One address's ports suffice for most; past nine tenths of them the next 127.0.0.x takes over.
        """
        per_address = ephemeral_ports() * 9 // 10
        while (opened := len(self._sockets)) < count:
            if time.monotonic() > deadline:
                return f"out of time after {opened} connections"
            source = f"127.0.0.{2 + opened // per_address}" if opened >= per_address else ""
            try:
                sock = connect(self._port, source)
                self._sockets.append(sock)
                ask(sock, "/")
            except (OSError, ValueError) as error:
                return f"stopped at {opened} connections: {error}"
        return ""

    def held(self) -> int:
        """How many are open still. An idle connection that becomes readable was closed by the server."""
        poll = select.poll()
        for sock in self._sockets:
            poll.register(sock, select.POLLIN)
        return len(self._sockets) - len(poll.poll(0))
