"""What every test may use: a server that is started for a test and drained after it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

import halfsync

THREADS = 4
GRACEFUL_TIMEOUT = 10.0

# The type of an application is the server's business; the tests also start what is none on purpose.
Serve = Callable[..., AbstractContextManager[halfsync.Server]]


@pytest.fixture
def poller() -> str:
    """Return the poller the engine shall use. Suites that every implementation must pass override this."""
    return "epoll"


@pytest.fixture
def serve(poller: str) -> Serve:
    """Return a function that serves an application: a context manager giving the server; settings by name."""

    @contextmanager
    def start(app: Any, **settings: Any) -> Iterator[halfsync.Server]:
        defaults: dict[str, Any] = {
            "bind": "127.0.0.1:0",
            "threads": THREADS,
            "poller": poller,
            "graceful_timeout": GRACEFUL_TIMEOUT,
        }
        with halfsync.Server(app, **(defaults | settings)) as server:
            yield server

    return start
