"""A raw HTTP/1.1 client for tests: it sends given bytes, and frames responses strictly.

Nothing is forgiven: a response must end exactly where its framing says (RFC 9112 section 6.3), and what
follows it stays in the connection, where the next `response` or `closed` finds it.
"""

import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from tests import tls

TIMEOUT_S = 30.0  # of every single read: long enough for a busy machine, and no test waits for ever
READ_BYTES = 65_536
HEAD_BYTES = 1 << 20
SMALL_WINDOW = 16 << 10  # of a slow reader's socket

Framing = Literal["none", "length", "chunked", "close"]


class CutError(AssertionError):
    """The connection ended before what its framing promised; holds what had come."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"the connection ended early, after {received[-200:]!r}")
        self.received = received


@dataclass(frozen=True, slots=True)
class Response:
    """A response as it came: names of fields as sent, values stripped of outer whitespace."""

    version: str
    status: int
    reason: str
    fields: tuple[tuple[str, str], ...]
    raw_head: bytes
    body: bytes = b""
    framing: Framing = "none"
    chunks: tuple[bytes, ...] = field(default=())

    def all(self, name: str) -> list[str]:
        """Return the values of every field of that name, in order."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        """Return the value of a field that occurs at most once, or None."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None


class Connection:
    """A connection to a server. Used by one thread, as a context manager."""

    def __init__(self, address: tuple[str, int] | socket.socket, timeout_s: float = TIMEOUT_S) -> None:
        """Connect to an address, or take over a socket that is connected already."""
        if isinstance(address, socket.socket):
            self.socket = address
            self.socket.settimeout(timeout_s)
        else:
            self.socket = socket.create_connection(address, timeout=timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls.ON and not isinstance(self.socket, tls.TlsSocket):
            self.socket = tls.wrap(self.socket)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def reset(self) -> None:
        """Leave at once and without a goodbye: the server's next write fails."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def head(self) -> Response:
        """Read the head of a response, and nothing of its body."""
        raw = self._until(b"\r\n\r\n")
        status_line, *lines = raw[:-4].decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        status, space, reason = rest.partition(" ")
        assert version in ("HTTP/1.1", "HTTP/1.0"), status_line
        assert space and len(status) == 3 and status.isdigit(), status_line
        fields = []
        for line in lines:
            name, colon, value = line.partition(":")
            assert colon and name and name == name.strip(), f"not a field line: {line!r}"
            assert not any(bad in line for bad in "\r\n\0"), line
            fields.append((name, value.strip(" \t")))
        return Response(version, int(status), reason, tuple(fields), raw)

    def response(self, method: str = "GET") -> Response:
        """Read one response to a request with that method, and no byte more."""
        head = self.head()
        framing = self.framing_of(head, method)
        chunks: list[bytes] = []
        match framing:
            case "none":
                body = b""
            case "length":
                body = self._exactly(int(head.one("Content-Length") or 0))
            case "close":
                body = self.rest()
            case "chunked":
                while chunk := self.chunk():
                    chunks.append(chunk)
                body = b"".join(chunks)
        return Response(
            head.version, head.status, head.reason, head.fields, head.raw_head, body, framing, tuple(chunks)
        )

    def last_responses(self) -> list[Response]:
        """Read responses up to the one that says it is the last, behind which the connection must end."""
        responses = [self.response()]
        while responses[-1].one("Connection") != "close":
            responses.append(self.response())
        assert self.rest() == b"", "more came behind the last response"
        return responses

    @staticmethod
    def framing_of(head: Response, method: str) -> Framing:
        """Return how a response is framed, by RFC 9112 section 6.3, and refuse contradictions."""
        length, coding = head.one("Content-Length"), head.one("Transfer-Encoding")
        assert length is None or coding is None, "both Content-Length and Transfer-Encoding"
        assert length is None or (length.isascii() and length.isdigit()), length
        if head.status < 200 or head.status == 204:
            assert length is None and coding is None, f"a {head.status} has no framing"
            return "none"
        if method == "HEAD" or head.status == 304:
            return "none"
        if coding is not None:
            assert coding.lower() == "chunked", coding
            return "chunked"
        return "close" if length is None else "length"

    def chunk(self) -> bytes:
        """Read one chunk of a chunked body; the last one is empty, and is read with its end."""
        size_line = self._until(b"\r\n")[:-2]
        assert size_line and all(c in b"0123456789abcdefABCDEF" for c in size_line), size_line
        data = self._exactly(int(size_line, 16))
        # The last chunk is followed by the trailer section; no application can send one, so it is empty.
        assert self._exactly(2) == b"\r\n"
        return data

    def some(self, most: int) -> bytes:
        """Read what there is, so many bytes at most, and at least one."""
        data, self._received = self._received[:most], self._received[most:]
        if not data:
            data = self.socket.recv(most)
        if not data:
            raise CutError(b"")
        return data

    def rest(self) -> bytes:
        """Read to the end of the connection, which must not be a reset."""
        while data := self.socket.recv(READ_BYTES):
            self._received += data
        received, self._received = self._received, b""
        return received

    def closed(self) -> None:
        """Assert that the server sends nothing more and ends the connection."""
        try:
            rest = self.rest()
        except ConnectionResetError:
            rest = self._received
        assert rest == b"", f"more came before the end: {rest[:200]!r}"

    def cut(self) -> bytes:
        """Read until the server ends the connection, by a reset or not; return what came before."""
        try:
            return self.rest()
        except ConnectionResetError:
            received, self._received = self._received, b""
            return received

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            assert len(self._received) < HEAD_BYTES, "no end of the line or head"
            self._more()
        data, _, self._received = self._received.partition(end)
        return data + end

    def _exactly(self, size: int) -> bytes:
        parts, missing = [self._received[:size]], size - len(self._received)
        self._received = self._received[size:]
        while missing > 0:
            # Large bodies are read into parts: appending to one bytes object would be quadratic.
            data = self.socket.recv(min(missing, 1 << 20))
            if not data:
                raise CutError(b"".join(parts))
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def _more(self) -> None:
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise CutError(self._received)
        self._received += data


def slow_reader(address: tuple[str, int]) -> Connection:
    """Connect with a small window, so that the server soon notices a client that does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
    sock.connect(address)
    return Connection(sock)


def build(
    target: str | bytes = "/",
    *,
    method: str = "GET",
    fields: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    version: str = "HTTP/1.1",
) -> bytes:
    """Return the bytes of a request with a Host, and with a Content-Length when there is a body."""
    raw_target = target if isinstance(target, bytes) else target.encode("latin-1")
    lines = [("Host", "test.example"), *fields]
    if body is not None:
        lines.append(("Content-Length", str(len(body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines).encode("latin-1")
    start = method.encode("ascii") + b" " + raw_target + b" " + version.encode("ascii") + b"\r\n"
    return start + head + b"\r\n" + (body or b"")


def build_chunked(chunks: Iterable[bytes], *, target: str = "/", method: str = "POST") -> bytes:
    """Return the bytes of a request whose body is sent in these chunks."""
    coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    head = build(target, method=method, fields=[("Transfer-Encoding", "chunked")])
    return head + coded + b"0\r\n\r\n"


def fetch(
    address: tuple[str, int],
    target: str | bytes = "/",
    *,
    method: str = "GET",
    fields: Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    version: str = "HTTP/1.1",
) -> Response:
    """Send one request on a connection of its own, and return its response."""
    with Connection(address) as connection:
        connection.send(build(target, method=method, fields=fields, body=body, version=version))
        return connection.response(method)


def await_engine(address: tuple[str, int]) -> None:
    """Return after the engine has handled all events that the kernel had reported before the call.

    The engine itself answers a malformed request. The second one is received in a later turn of the loop than the one
    that accepted the first, in whatever order that turn has handled its events.
    """
    for _ in range(2):
        with Connection(address) as malformed:
            malformed.send(b"?\r\n\r\n")
            assert malformed.response().status == 400
