"""A steady load from clients that keep their connections, and from some that make a new one for each request.

Every request is judged by its client: an answer that is whole and right, or a failure that is kept with its reason. A
client notices before a request whether its idle connection was closed, as real ones do; that is no failure.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

from halfsync.native.system import readable
from tests.client import Connection, build

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType

MIB = 1 << 20
TIMEOUT_S = 60.0
PAUSE_S = 0.005  # after a failure: if no server listens, each try fails at once

# It answers with what it was sent, or with as many bytes as it is asked for.
APP = """
import os
BLOCK = bytes(range(256)) * 4096
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/echo":
        body = environ["wsgi.input"].read()
    elif path == "/large":
        body = BLOCK
    else:
        body = b"small"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
BLOCK = bytes(range(256)) * 4096
FIRST_BYTES = 1000  # that are sent by themselves: more than any head has
ASKED = (
    (build("/small"), b"small"),
    (build("/small"), b"small"),
    (build("/small"), b"small"),
    (build("/large"), BLOCK),
    (build("/echo", method="POST", body=BLOCK), BLOCK),
)


class Failure(NamedTuple):
    """A request that was not answered: when that was seen, and why. Times are on the monotonic clock.

    connected: when its connection was made. begun: when the server's system had its first bytes; infinity: never.
    """

    at: float
    reason: str
    connected: float
    begun: float


@dataclass
class Tally:
    """What became of the requests: how many were answered, and why each other one was not, with when."""

    answered: int = 0
    reconnected: int = 0
    failures: list[Failure] = field(default_factory=list)

    def reasons(self) -> Counter[str]:
        """Count the failures by reason."""
        return Counter(failure.reason for failure in self.failures)


class Load:
    """The load, as a context manager. address: called before each connection; returns an address or a connection.

    large: whether there are bodies that need a disk where there is little memory for them.
    """

    def __init__(
        self,
        address: Callable[[], tuple[str, int] | socket.socket],
        *,
        keeping: int = 6,
        closing: int = 2,
        seed: int = 0,
        large: bool = True,
    ) -> None:
        self.tally = Tally()
        self._address = address
        self._asked = ASKED if large else ASKED[:3]
        self._seed = seed or random.randrange(2**32)
        print(f"load: seed {self._seed}")
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(index, index < keeping), daemon=True)
            for index in range(keeping + closing)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_answers(self, number: int) -> None:
        """Wait until so many more requests were answered."""
        goal = self.tally.answered + number
        deadline = time.monotonic() + TIMEOUT_S
        while self.tally.answered < goal:
            assert time.monotonic() < deadline, f"{self.tally}"
            self._over.wait(0.002)

    def _run(self, index: int, keeps: bool) -> None:
        chance = random.Random(self._seed + index)
        connection: Connection | None = None
        connected = math.inf
        while not self._over.is_set():
            request, body = chance.choice(self._asked)
            if not keeps:
                request = request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            begun = math.inf
            try:
                if connection is not None and was_closed(connection):
                    connection.socket.close()
                    connection = None
                    with self._lock:
                        self.tally.reconnected += 1
                if connection is None:
                    connection = Connection(self._address(), timeout_s=TIMEOUT_S)
                    connected = time.monotonic()
                connection.send(request[:FIRST_BYTES])
                begun = time.monotonic()
                if len(request) > FIRST_BYTES:
                    connection.send(request[FIRST_BYTES:])
                response = connection.response()
                assert response.status == 200, f"status {response.status}"
                assert response.body == body, f"a body of {len(response.body)} bytes"
            except (OSError, AssertionError) as error:
                reason = f"{type(error).__name__}: {error}"[:200]
                with self._lock:
                    self.tally.failures.append(Failure(time.monotonic(), reason, connected, begun))
                if connection is not None:
                    connection.socket.close()
                    connection = None
                connected = math.inf
                self._over.wait(PAUSE_S)
                continue
            with self._lock:
                self.tally.answered += 1
            if not keeps or response.one("Connection") == "close":
                connection.socket.close()
                connection = None
            elif chance.random() < 0.1:
                self._over.wait(chance.random() * 0.02)  # an idle moment
        if connection is not None:
            connection.socket.close()


def was_closed(connection: Connection) -> bool:
    """Tell whether the server has closed an idle connection."""
    return bool(readable([connection.socket.fileno()], 0))  # it has nothing else to say
