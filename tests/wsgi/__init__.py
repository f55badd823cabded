"""The types of WSGI for tests, and a few applications and bodies that many of them need."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import StartResponse

Environ = dict[str, Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

TEXT = [("Content-Type", "text/plain")]
EVENT_TIMEOUT_S = 15.0


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer every request with the same ten bytes."""
    start_response("200 OK", [*TEXT])
    return [b"hello, you"]


def pattern(size: int, seed: int = 7) -> bytes:
    """Return bytes in which no two places look alike, so that a lost, doubled or moved block is seen."""
    words = ((index * 2_654_435_761 + seed) & 0xFFFFFFFF for index in range((size + 3) // 4))
    return b"".join(word.to_bytes(4, "little") for word in words)[:size]


def wait(event: threading.Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(EVENT_TIMEOUT_S), "an event did not come"


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
