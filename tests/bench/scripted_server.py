"""A tiny HTTP server whose paths say what it does, for the load generator."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

REPLIES = {
    "/ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "/bye": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    "/busy": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "/odd": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    "/no-http": b"hello\r\n\r\n",
    "/never": b"",
}


class Scripted:
    """The server: `port` is where it listens, `paths` has what was asked on each connection, in their order.

    `/leave` is answered, and its connection closed without a word. `/drop` is not answered, only closed. `/half` is
    answered in two pieces.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.paths: list[list[str]] = []
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End every connection and thread."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.paths.append([])
            self._sockets.append(sock)
            self._threads.append(threading.Thread(target=self._serve, args=(sock, self.paths[-1])))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket, paths: list[str]) -> None:
        data = b""
        with sock, suppress(OSError):
            while True:
                while b"\r\n\r\n" not in data:
                    more = sock.recv(4096)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                path = head.split()[1].decode()
                paths.append(path)
                if path == "/drop":
                    return
                if path == "/half":
                    sock.sendall(REPLIES["/ok"][:-1])
                    sock.sendall(REPLIES["/ok"][-1:])
                elif path == "/leave":
                    sock.sendall(REPLIES["/ok"])
                    return
                else:
                    sock.sendall(REPLIES[path])
                if b"Connection: close" in head or path in ("/bye", "/no-http"):
                    return


@contextmanager
def scripted() -> Iterator[Scripted]:
    """A server for the time of the body."""
    server = Scripted()
    try:
        yield server
    finally:
        server.close()
