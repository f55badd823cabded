"""A program that answers at once: how long it takes is what the machine makes anything wait."""

import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

PROGRAM = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    client, _ = listener.accept()
    with client:
        while data := client.recv(64):
            client.send(data)
"""


class Echo:
    """A process of its own that sends back what it receives, as a context manager."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        number = str(self._listener.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", PROGRAM, number], pass_fds=[self._listener.fileno()]
        )
        self.ask()  # it has started
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._listener.close()

    def ask(self) -> float:
        """Connect, ask once, and return how long that took, in seconds."""
        since = time.monotonic()
        with socket.create_connection(self._listener.getsockname(), timeout=60) as connection:
            connection.sendall(b"?")
            assert connection.recv(64) == b"?"
        return time.monotonic() - since
