"""The types of WSGI for tests, and a few applications and bodies that many of them need."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import synchronize
from types import FrameType
from typing import Any
from wsgiref.types import StartResponse

import pytest

from tests.sharing import FORK, Notes

Environ = dict[str, Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

TEXT = [("Content-Type", "text/plain")]
EVENT_TIMEOUT_S = 30.0
POLL_S = 0.005


def hello(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer every request with the same ten bytes."""
    start_response("200 OK", [*TEXT])
    return [b"hello, you"]


def pattern(size: int, seed: int = 7) -> bytes:
    """Return bytes in which no two places look alike, so that a lost, doubled or moved block is seen."""
    # Made of whole words of the generator, so that a shorter pattern is the beginning of a longer one.
    return random.Random(seed).randbytes(-(-size // 4) * 4)[:size]


def wait(event: threading.Event | synchronize.Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(EVENT_TIMEOUT_S), "an event did not come"


def until(condition: Callable[[], object], timeout_s: float = EVENT_TIMEOUT_S) -> None:
    """Wait until a condition that nothing announces holds: it must, in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "a condition did not come true"
        time.sleep(POLL_S)


def interrupt(call: Callable[[], object], wait_for_it: Callable[[], object]) -> None:
    """Call something in the main thread, and let a signal's handler raise KeyboardInterrupt in it.

    wait_for_it: called in another thread, returns when the call has come to where it waits.
    """

    def raise_it(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, raise_it)

    def send() -> None:
        wait_for_it()
        os.kill(os.getpid(), signal.SIGUSR1)

    sending = threading.Thread(target=send)
    try:
        with pytest.raises(KeyboardInterrupt):
            sending.start()
            call()
    finally:
        sending.join()
        signal.signal(signal.SIGUSR1, before)


class Gate:
    """An application whose requests wait inside it until they are released, and which notes their paths.

    Made before the server starts, it may run in any process.
    """

    def __init__(self) -> None:
        self.opened = FORK.Event()
        self._entered = FORK.Semaphore(0)
        self._runs = Notes()

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Note the request, wait, and answer with its path."""
        self._runs.append(environ["PATH_INFO"])
        self._entered.release()
        wait(self.opened)
        start_response("200 OK", [*TEXT])
        return [environ["PATH_INFO"].encode("latin-1")]

    @property
    def runs(self) -> list[str]:
        """The paths of the requests that came in, in order."""
        return self._runs.read()

    def wait_entered(self, number: int) -> None:
        """Wait until so many more requests are inside."""
        for _ in range(number):
            assert self._entered.acquire(timeout=EVENT_TIMEOUT_S), "a request did not reach the application"


class Body:
    """A response body that counts how often it is closed, and may fail or go on for ever.

    The counts of one that is made before the server starts include what happened in any process.
    """

    def __init__(self, parts: Iterable[bytes], error: BaseException | None = None) -> None:
        self._parts = iter(parts)
        self._error = error
        self._closes = FORK.Value("i")
        self.closed = FORK.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        if self._error is not None:
            raise self._error

    @property
    def closes(self) -> int:
        """How often it was closed."""
        return int(self._closes.value)

    def close(self) -> None:
        """Count the call."""
        with self._closes:
            self._closes.value += 1
        self.closed.set()
