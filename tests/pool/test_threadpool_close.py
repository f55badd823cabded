"""How a pool of threads ends: closed, closed by its own jobs, without a reference, or only partly started."""

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from halfsync import ThreadPool
from halfsync.runtime import forking
from tests.pools import Gate, end, named, nothing_left, occupy
from tests.wsgi import EVENT_TIMEOUT_S, interrupt


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


def test_queued_jobs_run_when_the_pool_closes() -> None:
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


@pytest.mark.parametrize(
    "wrong", [float("nan"), "1", b"1", True, [1], object()], ids=lambda one: type(one).__name__
)
def test_a_wrong_limit_changes_nothing(wrong: Any) -> None:
    pool = ThreadPool(1)
    with pytest.raises((TypeError, ValueError), match="timeout must be a number of seconds or None"):
        pool.close(wrong)
    assert pool.append(int)
    assert pool.close(EVENT_TIMEOUT_S)
    assert pool.statistics().done == 1


@pytest.mark.parametrize("endless", [None, float("inf"), 1e300, 10**400, Decimal("inf")], ids=str)
def test_a_limit_without_end_waits_for_the_job(endless: Any) -> None:
    pool = ThreadPool(2)
    gate = occupy(pool)
    said: list[bool] = []
    closing = threading.Thread(target=lambda: said.append(pool.close(endless)))
    closing.start()
    until_closed(pool)
    assert not pool.close(0.05)
    assert not pool.close(-1)
    assert not pool.close(float("-inf"))
    assert (pool.statistics().running, said) == (1, [])
    gate.opened.set()
    end([closing])
    assert said == [True]
    assert pool.close(endless)


def until_closed(pool: ThreadPool) -> None:
    """Wait until a close that another thread has called has begun."""
    pause = threading.Event()
    while pool.append(int):
        pause.wait(0.001)


@pytest.mark.parametrize("endless", [None, float("inf"), 1e6], ids=str)
def test_an_interrupted_close_can_be_called_again(endless: Any) -> None:
    pool = ThreadPool(3)
    gates = [occupy(pool), occupy(pool)]
    for _ in range(3):
        # The threads wait for their jobs, and are never taken for ended by the interrupted wait.
        interrupt(lambda: pool.close(endless), partial(until_closed, pool))
        assert not pool.close(0.05)
        assert pool.statistics().running == 2
    for gate in gates:
        gate.opened.set()
    assert pool.close(EVENT_TIMEOUT_S)


def test_the_pool_of_an_interrupted_block_ends() -> None:
    pool = ThreadPool(1)
    gate = occupy(pool)

    def leave_block() -> None:
        with pool:
            pass

    interrupt(leave_block, partial(until_closed, pool))
    assert not pool.close(0.05)
    gate.opened.set()
    assert pool.close(EVENT_TIMEOUT_S)


@pytest.mark.parametrize("busy", [False, True])
def test_several_may_close_at_one_time(busy: bool) -> None:
    for _ in range(20):
        pool = ThreadPool(2)
        gate = occupy(pool) if busy else None
        together = threading.Barrier(5)
        said: list[bool] = []

        def close(
            pool: ThreadPool = pool, together: threading.Barrier = together, said: list[bool] = said
        ) -> None:
            together.wait(EVENT_TIMEOUT_S)
            said.append(pool.close())
            said.append(pool.close(0))

        closing = [threading.Thread(target=close) for _ in range(4)]
        for thread in closing:
            thread.start()
        together.wait(EVENT_TIMEOUT_S)
        if gate is not None:
            gate.opened.set()
        end(closing)
        assert said == [True] * 8
        assert pool.close(0)


@pytest.mark.parametrize("fork", [os.fork, lambda: forking.fork()[0]], ids=["the program's", "the server's"])
@pytest.mark.parametrize("closed", [False, True])
def test_a_forked_process_has_no_part_in_the_pool(fork: Callable[[], int], closed: bool) -> None:
    pool = ThreadPool(2)
    gate = occupy(pool)
    if closed:
        assert not pool.close(0)
    child = fork()
    if child == 0:
        try:
            taken = pool.append(int)
            with pytest.raises(RuntimeError, match="belongs to the process that made it"):
                pool.statistics()
            with pool:
                pass
            ended = pool.close(), pool.close(float("inf"))
            del pool
            gc.collect()
            os._exit(7 if (taken, ended) == (False, (True, True)) else 1)
        finally:
            os._exit(2)
    forking.unblock()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert pool.append(int) is not closed
    assert pool.statistics().running == 1
    gate.opened.set()
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


def test_a_pool_without_a_reference_runs_its_queue_and_ends() -> None:
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
