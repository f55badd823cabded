"""The lanes of the request queue, against a model of their rule, and with many threads."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from halfsync.native.checks import counts
from halfsync.testing.queues import PyLanedQueue, PyTaker
from tests.pool.lane_model import LaneSpec, Model, Waiting
from tests.wsgi import EVENT_TIMEOUT_S

ITEM, SLEEP, CLOSED = range(3)
FULL, OVERLOADED = -1, -2
AGE_NS = 10**18  # of what has waited too long
STEPS = 3000
DEFAULT, SLOW, FAST = range(3)


Make = Callable[..., PyLanedQueue]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a function that makes a queue; it is closed and emptied afterwards, or it could not be freed."""
    made: list[PyLanedQueue] = []

    def make_one(*, patient: bool = False, **settings: Any) -> PyLanedQueue:
        made.append(PyLanedQueue(1, patient, **settings))
        return made[-1]

    yield make_one
    for queue in made:
        queue.close()
        while queue.try_take()[0] == ITEM:
            pass


class Driver:
    """One queue and its model, which take the same steps. Workers are asleep, woken, in a turn, or stuck in one."""

    def __init__(self, rng: random.Random, make: Make) -> None:
        self.rng = rng
        lanes = [
            LaneSpec(rng.randint(1, 2), 0, rng.randint(1, 8), rng.randint(-1, 1))
            for _ in range(rng.randint(1, 5))
        ]
        threads = sum(one.guaranteed for one in lanes) + rng.randint(0, 4)
        lanes = [
            LaneSpec(one.guaranteed, rng.randint(one.guaranteed, threads), one.limit, one.priority)
            for one in lanes
        ]
        share = rng.randint(0, threads - 1)
        self.model = Model(lanes, threads, share)
        self.queue = make(lanes=[(*one,) for one in lanes], threads=threads, share=share)
        self.asleep: list[PyTaker] = []
        self.stuck: list[PyTaker] = []
        self.ever: list[Waiting] = []
        self.gone: list[Waiting] = []
        self.taken = [0] * len(lanes)
        for _ in range(threads):
            self.look(PyTaker())

    def look(self, worker: PyTaker) -> None:
        taken, item = self.queue.try_take(worker=worker)
        assert item is self.model.look(worker)
        assert taken == (ITEM if item is not None else SLEEP)
        if item is None:
            self.asleep.append(worker)
        else:
            self.taken[item.lane] += 1

    def put(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            lane = self.rng.randrange(len(self.model.lanes))
            item = Waiting(lane, self.rng.randint(0, 3), self.rng.random() < 0.3)
            item.ticket = self.queue.put_in(item, lane, item.client, AGE_NS if item.old else 0)
            assert (item.ticket >= 0) == self.model.has_room(lane)
            if item.ticket >= 0:
                self.model.waiting.append(item)
                self.ever.append(item)
        self.queue.wake()

    def end_turn(self) -> None:
        if self.model.turns:
            worker = self.rng.choice(list(self.model.turns))
            assert isinstance(worker, PyTaker)
            self.look(worker)

    def wake_up(self) -> None:
        if self.queue.waking > 0:
            worker = self.asleep.pop(self.rng.randrange(len(self.asleep)))
            self.queue.sleep(worker)  # returns at once, or the test times out
            self.look(worker)

    def withdraw(self) -> None:
        if self.ever:
            item = self.rng.choice(self.ever[-32:])
            waits = item in self.model.waiting
            assert self.queue.withdraw(item.ticket, item) == waits
            if waits:
                self.model.waiting.remove(item)
                self.gone.append(item)

    def overload(self) -> None:
        lane = self.rng.randrange(len(self.model.lanes))
        overloaded = self.rng.random() < 0.5
        self.queue.overload(lane, overloaded)
        (self.model.overloaded.add if overloaded else self.model.overloaded.discard)(lane)

    def expire(self) -> None:
        item = self.queue.expire(time.monotonic_ns())
        assert item is self.model.expired()
        if item is not None:
            self.gone.append(item)

    def get_stuck(self) -> None:
        if self.model.turns:
            worker = self.rng.choice(list(self.model.turns))
            assert isinstance(worker, PyTaker)
            self.stuck.append(worker)
            del self.model.turns[worker]
            self.model.threads -= 1
            self.queue.count_out(worker)

    def recover(self) -> None:
        """Let a stuck worker return, or start another one in its place."""
        if not self.stuck:
            return
        worker = self.stuck.pop(self.rng.randrange(len(self.stuck)))
        self.model.threads += 1
        if self.rng.random() < 0.5:
            self.queue.count_in()
        else:
            worker = PyTaker()
            self.queue.count_new()
        self.look(worker)

    def check(self) -> None:
        queue, model = self.queue, self.model
        assert queue.length == len(model.waiting)
        lanes = range(len(model.lanes))
        assert [queue.counts_of(lane) for lane in lanes] == [
            (len(model.in_lane(lane)), model.busy(lane)) for lane in lanes
        ]
        assert [(length, busy, taken) for length, busy, _, taken in map(queue.shown, lanes)] == [
            (*queue.counts_of(lane), self.taken[lane]) for lane in lanes
        ]
        assert queue.has_work == (model.due() is not None)
        assert queue.sleepers + queue.waking == len(self.asleep)
        assert not queue.has_work or queue.sleepers == 0 or queue.waking > 0, "a worker sleeps beside work"

    def finish(self) -> None:
        """Close the queue, in which everything may be taken then, and see that nothing is left of it."""
        self.queue.close()
        while (found := self.queue.try_take())[0] == ITEM:
            self.model.waiting.remove(found[1])
        assert self.model.waiting == []
        for worker in [*self.model.turns, *self.stuck]:
            assert isinstance(worker, PyTaker)
            self.queue.try_take(worker=worker)


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_steps_is_what_the_rule_says(make: Make, seed: int) -> None:
    driver = Driver(random.Random(seed), make)
    steps = [
        driver.put, driver.put, driver.end_turn, driver.end_turn, driver.wake_up, driver.wake_up, driver.withdraw,
        driver.overload, driver.expire, driver.get_stuck, driver.recover,
    ]  # fmt: skip
    weights = [4, 4, 4, 4, 4, 4, 2, 1, 1, 0.3, 0.6]
    for _ in range(STEPS):
        driver.rng.choices(steps, weights)[0]()
        driver.check()
    driver.finish()


@pytest.fixture
def two_lanes(make: Make) -> PyLanedQueue:
    """Return a queue for four threads whose lanes SLOW and FAST are guaranteed a thread each, as DEFAULT is."""
    return make(lanes=[(1, 4, 100, 0), (1, 4, 100, 0), (1, 4, 100, 0)], threads=4)


def test_a_lane_borrows_but_never_the_last_thread_of_another(two_lanes: PyLanedQueue) -> None:
    workers = [PyTaker() for _ in range(4)]
    for number in range(10):
        two_lanes.put_in(number, SLOW)
    assert [two_lanes.try_take(worker=worker)[0] for worker in workers] == [ITEM, ITEM, SLEEP, SLEEP]
    two_lanes.put_in("fast", FAST)
    assert two_lanes.try_take(worker=workers[2]) == (ITEM, "fast")
    assert two_lanes.try_take(worker=workers[2])[0] == SLEEP
    two_lanes.put_in("default", DEFAULT)
    assert two_lanes.try_take(worker=workers[3]) == (ITEM, "default")


def test_metrics_show_since_when_the_first_of_each_lane_has_waited(two_lanes: PyLanedQueue) -> None:
    for age in (30, 20, 10):
        two_lanes.put_in(age, SLOW, age_ns=age * 10**9)

    def age_s(lane: int) -> float:
        return (time.monotonic_ns() - two_lanes.shown(lane)[2]) / 10**9

    assert 30 <= age_s(SLOW) < 40
    assert two_lanes.shown(FAST)[2] == 0
    assert two_lanes.try_take(worker=PyTaker()) == (ITEM, 30)
    assert 20 <= age_s(SLOW) < 30
    two_lanes.put_in("fast", FAST)
    assert age_s(FAST) < 10
    assert age_s(SLOW) >= 20


def test_a_full_lane_refuses_only_its_own(two_lanes: PyLanedQueue) -> None:
    assert [two_lanes.put_in(number, SLOW) >= 0 for number in range(101)] == [True] * 100 + [False]
    assert two_lanes.refused == 1
    assert two_lanes.put_in("fast", FAST) >= 0


def test_what_is_put_without_a_lane_goes_to_the_default_one(two_lanes: PyLanedQueue) -> None:
    assert two_lanes.put("item") >= 0
    assert two_lanes.counts_of(DEFAULT) == (1, 0)


def test_a_lane_is_overloaded_for_itself(two_lanes: PyLanedQueue) -> None:
    two_lanes.put_in("taken", SLOW)
    assert two_lanes.try_take() == (ITEM, "taken")
    two_lanes.put_in("old", SLOW, elsewhere_ns=AGE_NS)
    two_lanes.put_in("old too", FAST, elsewhere_ns=AGE_NS)
    two_lanes.overload(SLOW, True)
    assert two_lanes.put_in("new", SLOW, elsewhere_ns=AGE_NS) == OVERLOADED
    assert two_lanes.put_in("new", FAST, elsewhere_ns=AGE_NS) >= 0
    assert two_lanes.expire(time.monotonic_ns()) == "old"
    assert two_lanes.expire(time.monotonic_ns()) is None
    assert (two_lanes.retry_after_s(SLOW, time.monotonic_ns()), two_lanes.retry_after_s(FAST, 0)) == (60, 1)


def test_a_client_with_its_share_waits_for_others_and_keeps_its_place(make: Make) -> None:
    queue = make(lanes=[(1, 4, 100, 0)], threads=4, share=2)
    workers = [PyTaker() for _ in range(4)]
    for number in range(6):
        queue.put_in(("greedy", number), 0, client=1)
    assert [queue.try_take(worker=one)[1] for one in workers[:3]] == [("greedy", n) for n in range(3)], (
        "none waits"
    )
    queue.put_in("other", 0, client=2)
    assert queue.try_take(worker=workers[3])[1] == "other"
    queue.put_in("other again", 0, client=2)
    assert queue.try_take(worker=workers[0])[1] == "other again", "the greedy client still has its share"
    assert queue.try_take(worker=workers[1])[1] == ("greedy", 3), "it has fallen below its share"
    assert queue.clients == 2
    queue.close()
    assert [queue.try_take()[1] for _ in range(3)] == [("greedy", 4), ("greedy", 5), None]


def test_clients_without_an_address_have_no_share(make: Make) -> None:
    queue = make(lanes=[(1, 2, 100, 0)], threads=2, share=1)
    for number in range(3):
        queue.put_in(number, 0)
    queue.put_in("other", 0, client=1)
    assert [queue.try_take(worker=PyTaker())[1] for _ in range(2)] == [0, 1]
    assert queue.clients == 1
    queue.close()
    assert [queue.try_take()[1] for _ in range(3)] == [2, "other", None]


def test_a_patient_queue_leaves_one_lane_to_awake_workers_and_not_two(make: Make) -> None:
    queue = make(patient=True, lanes=[(1, 3, 100, 0), (1, 3, 100, 0)], threads=3)
    worker = PyTaker()
    queue.put_in("under way", 0)
    assert queue.try_take(worker=worker)[0] == ITEM
    assert [queue.try_take(worker=PyTaker())[0] for _ in range(2)] == [SLEEP, SLEEP]
    queue.turn_ns = 5000
    queue.put_in("next", 0)
    queue.wake()
    assert queue.waking == 0
    queue.put_in("other", 1)
    queue.wake()
    assert queue.waking == 1


def test_a_patient_queue_wakes_nobody_for_what_may_not_be_taken(make: Make) -> None:
    queue = make(patient=True, lanes=[(1, 2, 100, 0), (1, 1, 100, 0)], threads=2)
    queue.put_in("under way", 1)
    queue.put_in("waits", 1)
    assert queue.try_take(worker=PyTaker())[0] == ITEM
    assert queue.try_take(worker=PyTaker())[0] == SLEEP
    now = time.monotonic_ns()
    for later in range(5):
        assert queue.check(now + later * 1_000_000_000)[1]
    assert queue.waking == 0


def test_lanes_are_freed() -> None:
    before = counts()
    queue = PyLanedQueue(1, lanes=[(1, 2, 1000, 0)] * 3, threads=3, share=1)
    del queue
    assert counts() == before


class Crowd:
    """Workers, each a thread that takes items and notes what runs beside it."""

    def __init__(self, queue: PyLanedQueue, lanes: list[LaneSpec], threads: int) -> None:
        self.queue, self.lanes = queue, lanes
        self.running: Counter[int] = Counter()
        self.taken: list[tuple[int, int]] = []
        self.faults: list[str] = []
        self.lock = threading.Lock()
        self.threads = [
            threading.Thread(target=self._work, args=(seed,), daemon=True) for seed in range(threads)
        ]
        for thread in self.threads:
            thread.start()

    def _work(self, seed: int) -> None:
        rng = random.Random(seed)
        worker = PyTaker()
        while True:
            taken, item = self.queue.try_take(worker=worker)
            if taken == CLOSED:
                return
            if taken == SLEEP:
                self.queue.sleep(worker)
                continue
            lane = item[0]
            with self.lock:
                self.taken.append(item)
                self.running[lane] += 1
                if self.running[lane] > self.lanes[lane].most:
                    self.faults.append(f"{self.running[lane]} turns in lane {lane}")
            time.sleep(rng.choice([0, 0, 0.0001, 0.001]))
            with self.lock:
                self.running[lane] -= 1

    def join(self) -> None:
        self.queue.close()
        for thread in self.threads:
            thread.join(EVENT_TIMEOUT_S)
            assert not thread.is_alive(), "a thread sleeps for ever"


@pytest.mark.parametrize("patient", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_no_wake_is_lost_among_many_threads(make: Make, seed: int, patient: bool) -> None:
    """All that was put is taken or withdrawn, though nothing wakes a worker once the last item was put.

    A patient queue needs an owner that calls `check` again and again.
    """
    rng = random.Random(seed)
    lanes = [LaneSpec(1, 8, 50, 0), LaneSpec(1, 2, 50, 1), LaneSpec(2, 3, 50, -1)]
    queue = make(patient=patient, lanes=[(*one,) for one in lanes], threads=8, share=3)
    crowd = Crowd(queue, lanes, 8)
    put: list[tuple[int, int]] = []
    withdrawn: list[tuple[int, int]] = []
    for number in range(6000):
        item = (rng.randrange(3), number)
        ticket = queue.put_in(item, item[0], rng.randint(0, 3))
        if ticket >= 0:
            put.append(item)
        if patient:
            queue.check(time.monotonic_ns())
        else:
            queue.wake()
        if rng.random() < 0.1 and ticket >= 0 and queue.withdraw(ticket, item):
            withdrawn.append(item)
        if rng.random() < 0.01:
            time.sleep(0.002)  # lets the queue run empty, so that workers fall asleep just then
    deadline = time.monotonic() + EVENT_TIMEOUT_S
    while queue.length > 0:
        assert time.monotonic() < deadline, f"{queue.length} items wait for ever"
        if patient:
            queue.check(time.monotonic_ns())
        time.sleep(0.001)
    crowd.join()
    assert crowd.faults == []
    assert Counter(crowd.taken) + Counter(withdrawn) == Counter(put)
    assert queue.clients == 0
