"""What the tests of the thread pool share: jobs that can be held, and a check that nothing is left behind."""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from halfsync import ThreadPool
from halfsync.native.checks import counts
from tests.wsgi import EVENT_TIMEOUT_S, wait


@contextmanager
def nothing_left() -> Iterator[None]:
    """Check that afterwards there are no more native queues and threads than before: others' may have ended."""
    queues, threads = counts()["queue"], threading.active_count()
    yield
    gc.collect()
    assert counts()["queue"] <= queues
    assert threading.active_count() <= threads, threading.enumerate()


class Gate:
    """A job that says when it runs, and ends when it is let."""

    def __init__(self) -> None:
        self.running, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.running.set()
        wait(self.opened)


def occupy(pool: ThreadPool) -> Gate:
    """Keep one thread of a pool busy until the gate is opened."""
    gate = Gate()
    assert pool.append(gate)
    wait(gate.running)
    return gate


def failing(error: BaseException) -> Callable[[], None]:
    def job() -> None:
        raise error

    return job


def end(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(EVENT_TIMEOUT_S)
        assert not thread.is_alive()


def named(prefix: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]
