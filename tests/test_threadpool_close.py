"""How a pool of threads ends: closed, closed by its own jobs, forgotten, or not started as a whole."""

import gc
import threading
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from halfsync import ThreadPool
from tests.pools import Gate, end, named, nothing_left, occupy
from tests.wsgi import EVENT_TIMEOUT_S


@pytest.fixture(autouse=True)
def no_leak() -> Iterator[None]:
    """Fail a test after which threads or native queues are left."""
    with nothing_left():
        yield


def test_a_closed_pool_refuses() -> None:
    pool = ThreadPool(2)
    assert pool.close()
    assert not pool.append(lambda: None)
    assert pool.statistics().refused == 1
    assert pool.close()


def test_what_is_queued_when_the_pool_closes_is_run() -> None:
    ran: list[int] = []
    pool = ThreadPool(2)
    gates = [occupy(pool), occupy(pool)]
    for number in range(100):
        pool.append(partial(ran.append, number))
    assert not pool.close(timeout=0)
    assert not pool.append(lambda: ran.append(-1))
    for gate in gates:
        gate.opened.set()
    assert pool.close(EVENT_TIMEOUT_S)
    assert sorted(ran) == list(range(100))


def test_close_has_one_deadline_for_all_threads() -> None:
    pool = ThreadPool(3)
    gates = [occupy(pool) for _ in range(3)]
    assert not pool.close(timeout=0.01)
    for gate in gates[:2]:
        gate.opened.set()
    assert not pool.close(timeout=0.01)
    gates[2].opened.set()
    assert pool.close(EVENT_TIMEOUT_S)


def test_a_job_may_close_its_pool() -> None:
    said: list[bool] = []
    pool = ThreadPool(2)
    pool.append(lambda: said.append(pool.close()))
    end(named("pool-"))
    assert said == [False]  # its own thread had not ended
    assert pool.close()


def test_two_jobs_that_close_their_pool_do_not_wait_for_each_other() -> None:
    together = threading.Barrier(2)
    said: list[bool] = []
    pool = ThreadPool(2)

    def job() -> None:
        together.wait(EVENT_TIMEOUT_S)
        said.append(pool.close())

    pool.append(job)
    pool.append(job)
    end(named("pool-"))
    assert said == [False, False]


def test_a_job_that_closes_with_a_timeout_waits_for_the_others() -> None:
    pool = ThreadPool(2)
    said: list[bool] = []
    gate = occupy(pool)
    pool.append(lambda: said.append(pool.close(EVENT_TIMEOUT_S)))
    pause = threading.Event()
    while pool.append(int):  # until the job has begun to close
        pause.wait(0.001)
    assert said == []
    gate.opened.set()
    end(named("pool-"))
    assert said == [False]


@pytest.mark.parametrize("allowed", [0, 2])
def test_when_a_thread_cannot_be_started_those_started_end(
    allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def limited(self: threading.Thread) -> None:
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        ThreadPool(5)
    assert len(started) == allowed
    assert not any(thread.is_alive() for thread in started)


def test_jobs_that_no_thread_takes_are_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace function that raises, for one, ends threads from outside: here they end as they begin."""
    monkeypatch.setattr(threading.Thread, "run", lambda self: None)
    closed, forgotten = ThreadPool(2), ThreadPool(2)
    jobs = [Gate(), Gate()]
    gone = [weakref.ref(job) for job in jobs]
    for pool, job in zip([closed, forgotten], jobs, strict=True):
        end(named("pool-"))
        assert pool.append(job)
    jobs.clear()
    del job, pool
    assert closed.close()
    assert gone[0]() is None
    assert closed.statistics().queued == 0
    del forgotten
    gc.collect()
    assert gone[1]() is None


def test_a_forgotten_pool_runs_what_is_queued_and_ends() -> None:
    ran: list[int] = []
    pool = ThreadPool(2)
    gates = [occupy(pool), occupy(pool)]
    for number in range(10):
        pool.append(partial(ran.append, number))
    threads = named("pool-")
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    for gate in gates:
        gate.opened.set()
    end(threads)
    assert sorted(ran) == list(range(10))


def test_a_forgotten_pool_in_a_cycle_ends() -> None:
    class Owner:
        def __init__(self) -> None:
            self.pool = ThreadPool(2)
            self.pool.append(self.job)

        def job(self) -> None:
            pass

    threads = [*named("pool-"), *([Owner()] and named("pool-"))]
    gc.collect()
    end(threads)


def test_the_last_reference_to_a_pool_may_be_a_job() -> None:
    pool = ThreadPool(1)
    gate = occupy(pool)
    threads = named("pool-")
    pool.append(pool.statistics)
    del pool
    gate.opened.set()
    end(threads)
