"""The pool of threads for plain jobs: its bounds, its statistics, and that nothing a job does breaks it."""

import dataclasses
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from halfsync import ThreadPool
from tests.pools import Gate, end, failing, named, nothing_left, occupy
from tests.wsgi import EVENT_TIMEOUT_S, wait

Raised = list[BaseException]


@pytest.fixture(autouse=True)
def no_leak() -> Iterator[None]:
    """Fail a test after which threads or native queues are left."""
    with nothing_left():
        yield


@pytest.fixture
def raised(monkeypatch: pytest.MonkeyPatch) -> Raised:
    """Collect what jobs raise, instead of printing it."""
    errors: Raised = []

    def hook(args: Any) -> None:
        errors.append(args.exc_value)

    monkeypatch.setattr(threading, "excepthook", hook)
    return errors


def test_one_thread_runs_jobs_first_in_first_out() -> None:
    ran: list[int] = []
    with ThreadPool(1) as pool:
        for number in range(500):
            assert pool.append(partial(ran.append, number))
    assert ran == list(range(500))


def test_jobs_run_in_as_many_threads_as_there_are() -> None:
    together = threading.Barrier(4)
    with ThreadPool(4) as pool:
        for _ in range(4):
            assert pool.append(lambda: together.wait(EVENT_TIMEOUT_S))
    assert pool.statistics().done == 4


def test_threads_are_called_by_the_pool_name() -> None:
    with ThreadPool(2) as plain, ThreadPool(2, name="mine") as mine:
        assert {thread.name for thread in named("pool-")} == {"pool-1", "pool-2"}
        assert {thread.name for thread in named("mine-")} == {"mine-1", "mine-2"}
        assert (plain.name, plain.size, mine.name, mine.size) == ("pool", 2, "mine", 2)


@pytest.mark.parametrize("sizes", [(0, 1), (-1, 1), (1, 0), (1, -1), (1, (1 << 24) + 1)])
def test_sizes_out_of_range_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be 1"):
        ThreadPool(sizes[0], queue_size=sizes[1])


@pytest.mark.parametrize(
    "arguments",
    [
        {"threads": wrong} for wrong in (1.5, 1.0, True, "1", b"1", None, [1], Fraction(1), Decimal(1))
    ]
    + [{"threads": 1, "queue_size": wrong} for wrong in (1.5, True, "1", None)]
    + [{"threads": 1, "name": wrong} for wrong in (1, None, b"name")],
    ids=str,
)  # fmt: skip
def test_arguments_of_other_types_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="must be a"):
        ThreadPool(**arguments)


@pytest.mark.parametrize("huge", [1 << 16, 2**31, 2**63, 10**30, 10**5000], ids=lambda huge: len(hex(huge)))
def test_sizes_beyond_every_machine_are_refused_before_a_thread_starts(huge: int) -> None:
    with pytest.raises(ValueError, match="threads must be 1 to 32768"):
        ThreadPool(huge)
    with pytest.raises(ValueError, match="queue_size must be 1 to"):
        ThreadPool(1, queue_size=huge << 16)


def test_a_pool_that_could_not_be_made_can_be_made_then() -> None:
    pool = ThreadPool.__new__(ThreadPool)
    with pytest.raises(TypeError):
        pool.__init__(1.5)  # type: ignore[misc]
    with pytest.raises(RuntimeError, match=r"__init__ was not called"):
        pool.close()
    pool.__init__(1)  # type: ignore[misc]
    assert pool.close()


def test_what_cannot_be_called_is_refused() -> None:
    with ThreadPool(1) as pool, pytest.raises(TypeError, match="must be callable, not int"):
        pool.append(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("queue_size", [1, 3, 4])
def test_a_full_pool_refuses_at_once(queue_size: int) -> None:
    ran: list[int] = []
    with ThreadPool(1, queue_size=queue_size) as pool:
        gate = occupy(pool)
        taken = [pool.append(partial(ran.append, number)) for number in range(queue_size + 3)]
        assert taken == [True] * queue_size + [False] * 3
        assert pool.statistics().refused == 3
        gate.opened.set()
    assert ran == list(range(queue_size))


ERRORS = [ValueError("no"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_thread_outlives_whatever_a_job_raises(error: BaseException, raised: Raised) -> None:
    with ThreadPool(1) as pool:
        before = named("pool-")
        pool.append(failing(error))
        gate = occupy(pool)  # the same thread still takes
        assert raised == [error]
        assert (pool.statistics().failed, pool.statistics().done) == (1, 0)
        assert named("pool-") == before
        gate.opened.set()


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("this error cannot be told")

    __repr__ = __str__


def test_an_error_that_cannot_be_printed_is_reported_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    with ThreadPool(1, name="mine") as pool:
        pool.append(failing(UnprintableError()))
    assert pool.statistics().failed == 1
    assert "Exception in thread mine-1" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("no"), UnprintableError()], ids=["printable", "unprintable"])
@pytest.mark.parametrize("broken", ["raises", "exits", "is none"])
@pytest.mark.parametrize("stderr", ["works", "raises", "is none"])
def test_a_broken_exception_hook_ends_no_thread(
    error: BaseException,
    broken: str,
    stderr: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def hook(_args: object) -> None:
        raise SystemExit if broken == "exits" else OSError("the hook is broken")

    class Closed:
        def write(self, _text: str) -> None:
            raise ValueError("closed")

    pool = ThreadPool(1, name="mine")
    monkeypatch.setattr(threading, "excepthook", None if broken == "is none" else hook)
    if stderr != "works":
        monkeypatch.setattr(sys, "stderr", None if stderr == "is none" else Closed())
    ran = threading.Event()
    pool.append(failing(error))
    pool.append(ran.set)
    wait(ran)
    assert pool.close(EVENT_TIMEOUT_S)
    assert pool.statistics().failed == 1
    if stderr == "works":
        told = capsys.readouterr().err
        assert told.endswith(
            f"mine: the thread exception hook failed while reporting a {type(error).__name__}\n"
        )


def test_statistics_are_frozen_and_right(raised: Raised) -> None:
    pool = ThreadPool(2, queue_size=3)
    empty = pool.statistics()
    assert dataclasses.astuple(empty) == (0, 0, 0, 0, 0, 0.0)
    gates = [occupy(pool), occupy(pool)]
    for job in (int, failing(ValueError()), int):
        pool.append(job)
    pool.append(int)
    busy = pool.statistics()
    assert (busy.queued, busy.running, busy.done, busy.refused, busy.failed) == (3, 2, 0, 1, 0)
    for gate in gates:
        gate.opened.set()
    pool.close()
    after = pool.statistics()
    assert (after.queued, after.running, after.done, after.refused, after.failed) == (0, 0, 4, 1, 1)
    assert after.waited > busy.waited > empty.waited
    assert len(raised) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.done = 5  # type: ignore[misc]


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_is_let_go_of_right_after_it_ran(fails: bool, raised: Raised) -> None:
    class Job:
        def __call__(self) -> object:
            if fails:
                raise ValueError
            return self  # the result is dropped too

    gc.disable()  # so that only reference counts can have freed it
    try:
        with ThreadPool(1) as pool:
            job = Job()
            gone = weakref.ref(job)
            pool.append(job)
            del job
            gate = occupy(pool)  # the thread runs on, and has taken the next
            raised.clear()
            assert gone() is None
            gate.opened.set()
    finally:
        gc.enable()


def test_a_refused_job_is_let_go_of() -> None:
    pool = ThreadPool(1)
    pool.close()
    job = Gate()
    gone = weakref.ref(job)
    pool.append(job)
    del job
    assert gone() is None


def test_a_job_may_append() -> None:
    done = threading.Event()
    with ThreadPool(1) as pool:
        pool.append(lambda: pool.append(done.set))
        wait(done)


class Counting(ThreadPool):
    """A subclass with a constructor of its own."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.appended = 0
        super().__init__(2, name=label)

    def append(self, job: Callable[[], object]) -> bool:
        self.appended += 1
        return super().append(job)


def test_a_pool_can_be_subclassed() -> None:
    with Counting("mine") as pool:
        occupy(pool).opened.set()
        assert (pool.appended, pool.label, pool.name) == (1, "mine", "mine")
    assert pool.statistics().done == 1


def test_a_subclass_that_does_not_call_the_constructor_gets_an_error() -> None:
    class Forgetful(ThreadPool):
        def __init__(self) -> None:
            pass

    with pytest.raises(RuntimeError, match="__init__ was not called"):
        Forgetful().append(int)


def test_a_pool_is_made_once() -> None:
    with ThreadPool(1) as pool, pytest.raises(RuntimeError, match="made already"):
        pool.__init__(1)  # type: ignore[misc]


def test_many_threads_append_and_every_job_runs_once() -> None:
    ran: list[int] = []
    putting = 4
    room = threading.Semaphore(16)

    def job(number: int) -> None:
        ran.append(number)
        room.release()

    def put(pool: ThreadPool, first: int) -> None:
        for number in range(first, 20_000, putting):
            room.acquire()
            assert pool.append(partial(job, number))  # a job that gives its permit back has left the queue

    with ThreadPool(3, queue_size=16) as pool:
        threads = [threading.Thread(target=put, args=(pool, first)) for first in range(putting)]
        for thread in threads:
            thread.start()
        end(threads)
    assert sorted(ran) == list(range(20_000))
    assert pool.statistics().done == 20_000
