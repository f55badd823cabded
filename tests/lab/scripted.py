"""A server whose paths say what it does, for the load generator; and loads that are sent in this process."""

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from halfsync.lab.generating import outcome_of, requests_of
from halfsync.lab.generator import Generator
from halfsync.lab.load import Load, Outcome

HOST = "127.0.0.1"
TAKEN_S = 30.0
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20

Act = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a path does: pieces are sent, each once the one before was received; then the connection may be closed.

    `act` is called with the socket before. An empty last piece: it is closed once all was received.
    """

    pieces: tuple[bytes, ...] = ()
    closes: bool = False
    act: Act | None = None


OK = Reply((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",))
BUSY = Reply((b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",))
ODD = Reply((b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",))
NEVER = Reply()
DROP = Reply(closes=True)
REPLIES = {"/": OK, "/busy": BUSY, "/odd": ODD, "/never": NEVER, "/drop": DROP}


class Scripted:
    """The server. `port` is where it listens; `asked` has the paths of each connection, and `heads` what came of each.

    `replies` may be changed between loads.
    """

    def __init__(self, replies: Mapping[str, Reply]) -> None:
        self.replies = dict(replies)
        self.asked: list[list[str]] = []
        self.heads: list[bytes] = []
        self._listener = socket.create_server((HOST, 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End every connection and thread. Once is enough."""
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def end_others(self, sock: socket.socket) -> None:
        """End all connections but one."""
        for other in self._sockets:
            if other is not sock:
                other.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.asked.append([])
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, self.asked[-1]))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, asked: list[str]) -> None:
        data = b""
        with sock, suppress(OSError):
            while True:
                while b"\r\n\r\n" not in data:
                    more = sock.recv(65536)
                    if not more:
                        self.heads += [data] if data else []
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                self.heads.append(head)
                asked.append(head.split()[1].decode())
                data = _without_body(sock, head, data)
                reply = self.replies[asked[-1]]
                if reply.act is not None:
                    reply.act(sock)
                for number, piece in enumerate(reply.pieces):
                    if number:
                        await_taken(sock)
                    sock.sendall(piece)
                if reply.closes or b"Connection: close" in head:
                    return


def _without_body(sock: socket.socket, head: bytes, data: bytes) -> bytes:
    """Receive the body of a request, and return what came after it."""
    _, found, rest = head.partition(b"Content-Length: ")
    left = int(rest.split()[0]) if found else 0
    while len(data) < left:
        more = sock.recv(65536)
        if not more:
            raise OSError("the client left while it sent a body")
        data += more
    return data[left:]


def await_taken(sock: socket.socket) -> None:
    """Return once the other end, on this machine, has received all that was sent, or is gone."""
    own, other = sock.getsockname(), sock.getpeername()
    deadline = time.monotonic() + TAKEN_S
    while time.monotonic() < deadline:
        _, unsent = _queues(own, other)
        unread, _ = _queues(other, own)
        if not unsent and not unread:
            return
        os.sched_yield()
    raise AssertionError(f"the client had not received it after {TAKEN_S} s")


def _queues(local: tuple[str, int], remote: tuple[str, int]) -> tuple[int, int]:
    """Return how many bytes wait at one end of a connection to be received, and to be acknowledged; 0 if it is gone.

    The kernel is asked for this one (sock_diag(7)): /proc/net/tcp has them all, which may be tens of thousands.
    """
    ports = struct.pack("!HH", local[1], remote[1])
    addresses = b"".join(socket.inet_aton(address).ljust(16, b"\0") for address, _ in (local, remote))
    any_cookie = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    which = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    request = which + ports + addresses + any_cookie
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(request), SOCK_DIAG_BY_FAMILY, 1, 0, 0) + request)
        answer = netlink.recv(4096)
    (kind,) = struct.unpack_from("=H", answer, 4)
    if kind != SOCK_DIAG_BY_FAMILY:
        (error,) = struct.unpack_from("=i", answer, 16)
        assert -error == errno.ENOENT, os.strerror(-error)
        return 0, 0
    unread, unsent = struct.unpack_from("=II", answer, 16 + 4 + 48 + 4)
    return unread, unsent


@contextmanager
def scripted(replies: Mapping[str, Reply] = REPLIES) -> Iterator[Scripted]:
    """Run a server for the time of the body."""
    server = Scripted(replies)
    try:
        yield server
    finally:
        server.close()


def played(load: Load) -> Outcome:
    """Send a load in this process and return what became of it."""
    return outcome_of(Generator(load, requests_of(load)).play())


def accounted(outcome: Outcome) -> int:
    """Return how many requests have an outcome."""
    failed = sum(outcome.failed.values()) - outcome.unopened
    return outcome.answered + outcome.refused + outcome.errors + outcome.left + failed + outcome.unsent
