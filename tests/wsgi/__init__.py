"""The types of WSGI for tests, and a few applications and bodies that many of them need."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse

Environ = dict[str, Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

TEXT = [("Content-Type", "text/plain")]
EVENT_TIMEOUT_S = 15.0
POLL_S = 0.005


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer every request with the same ten bytes."""
    start_response("200 OK", [*TEXT])
    return [b"hello, you"]


def pattern(size: int, seed: int = 7) -> bytes:
    """Return bytes in which no two places look alike, so that a lost, doubled or moved block is seen."""
    # Made of whole words of the generator, so that a shorter pattern is the beginning of a longer one.
    return random.Random(seed).randbytes(-(-size // 4) * 4)[:size]


def wait(event: threading.Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(EVENT_TIMEOUT_S), "an event did not come"


def until(condition: Callable[[], object], timeout_s: float = EVENT_TIMEOUT_S) -> None:
    """Wait until a condition that nothing announces holds: it must, in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "a condition did not come true"
        time.sleep(POLL_S)


class Gate:
    """An application whose requests wait inside it until they are let go on, and which counts them."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.runs: list[str] = []

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Note the request, wait, and answer with its path."""
        self.runs.append(environ["PATH_INFO"])
        self.entered.release()
        wait(self.opened)
        start_response("200 OK", [*TEXT])
        return [environ["PATH_INFO"].encode("latin-1")]

    def wait_entered(self, number: int) -> None:
        """Wait until so many more requests are inside."""
        for _ in range(number):
            assert self.entered.acquire(timeout=EVENT_TIMEOUT_S), "a request did not reach the application"


class Body:
    """A response body that counts how often it is closed, and may fail or go on for ever."""

    def __init__(self, parts: Iterable[bytes], error: BaseException | None = None) -> None:
        self._parts = iter(parts)
        self._error = error
        self.closes = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Count the call."""
        self.closes += 1
        self.closed.set()
