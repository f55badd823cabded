"""The bounded queue between the halves: order, bounds, and that no worker sleeps while there is work."""

import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from halfsync.native.checks import counts
from halfsync.testing import queues
from tests.wsgi import EVENT_TIMEOUT_S

ITEM, SLEEP, CLOSED = range(3)
OVERLOADED = -2  # QUEUE_IS_OVERLOADED
SECOND_NS = 1_000_000_000

Make = Callable[..., queues.PyRequestQueue]


@pytest.fixture
def make() -> Iterator[Make]:
    """Return a function that makes a queue; it is closed and emptied afterwards, or it could not be freed."""
    made: list[queues.PyRequestQueue] = []

    def make_one(limit: int, ticket: int = 0) -> queues.PyRequestQueue:
        made.append(queues.PyRequestQueue(limit, ticket=ticket))
        return made[-1]

    yield make_one
    for queue in made:
        queue.close()
        while queue.try_take()[0] == ITEM:
            pass


def take(queue: queues.PyRequestQueue) -> object:
    """Take as a worker does. Returns None when the queue is closed and empty."""
    woken = False
    while True:
        taken, item = queue.try_take(woken)
        if taken == ITEM:
            return item
        if taken == CLOSED:
            return None
        queue.sleep()
        woken = True


def start(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.start()


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(EVENT_TIMEOUT_S)
        assert not thread.is_alive(), "a thread sleeps for ever"


def sleepers(queue: queues.PyRequestQueue, how_many: int) -> list[threading.Thread]:
    """Return threads that sleep in the queue, and take one item each when they are woken."""
    threads = [threading.Thread(target=take, args=(queue,), daemon=True) for _ in range(how_many)]
    start(*threads)
    deadline = threading.Event()
    while queue.sleepers < how_many:
        assert not deadline.wait(0.001)
    return threads


def test_items_come_out_in_the_order_in_which_they_were_put(make: Make) -> None:
    queue = make(5)
    for turn in range(7):  # the ring wraps more than once
        assert [queue.put((turn, number)) for number in range(3)] == [turn * 3 + n for n in range(3)]
        assert [queue.try_take() for _ in range(3)] == [(ITEM, (turn, number)) for number in range(3)]
    assert queue.waited_ns > 0


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8])
def test_a_full_queue_refuses_and_counts_it(make: Make, limit: int) -> None:
    queue = make(limit)
    assert [queue.put(n) >= 0 for n in range(limit + 2)] == [True] * limit + [False] * 2
    assert (queue.length, queue.refused) == (limit, 2)
    assert queue.try_take() == (ITEM, 0)
    assert queue.put("again") == limit  # the refused had no ticket
    assert [queue.try_take()[1] for _ in range(limit)] == [*range(1, limit), "again"]


def test_a_refused_item_stays_with_its_owner(make: Make) -> None:
    class Item:
        pass

    queue = make(1)
    item = Item()
    gone = weakref.ref(item)
    queue.close()
    assert queue.put(item) == -1
    del item
    assert gone() is None


def test_a_closed_queue_refuses_puts_but_not_takes(make: Make) -> None:
    queue = make(4)
    queue.put("first")
    queue.close()
    assert queue.put("late") == -1
    assert queue.refused == 1
    assert [queue.try_take(), queue.try_take()] == [(ITEM, "first"), (CLOSED, None)]


def test_close_wakes_every_sleeper(make: Make) -> None:
    queue = make(4)
    threads = sleepers(queue, 5)
    queue.close()
    queue.close()
    join(*threads)
    assert (queue.sleepers, queue.waking) == (0, 0)


def test_a_sleeper_that_is_about_to_sleep_is_woken_too(make: Make) -> None:
    """A worker may be woken between announcing its sleep and sleeping: the permit waits."""
    queue = make(4)
    assert queue.try_take() == (SLEEP, None)
    queue.put("item")
    queue.wake()
    queue.sleep()  # returns at once, or this test times out
    assert queue.try_take(woken=True) == (ITEM, "item")


def test_putting_wakes_no_worker(make: Make) -> None:
    queue = make(4)
    queue.try_take()
    queue.put("item")
    assert (queue.sleepers, queue.waking) == (1, 0)
    queue.wake()
    assert (queue.sleepers, queue.waking) == (0, 1)


def test_one_wake_is_in_flight_and_the_woken_worker_wakes_the_next(make: Make) -> None:
    queue = make(8)
    for _ in range(3):
        assert queue.try_take()[0] == SLEEP
    for number in range(3):
        queue.put(number)
        queue.wake()
        assert (queue.sleepers, queue.waking) == (2, 1)
    queue.sleep()
    assert queue.try_take(woken=True) == (ITEM, 0)
    assert (queue.sleepers, queue.waking) == (1, 1)  # there is more: the next is woken
    queue.sleep()
    assert queue.try_take(woken=True) == (ITEM, 1)
    queue.sleep()
    assert queue.try_take(woken=True) == (ITEM, 2)
    assert (queue.sleepers, queue.waking) == (0, 0)


def test_an_empty_queue_wakes_no_worker(make: Make) -> None:
    queue = make(4)
    queue.try_take()
    queue.wake()
    assert (queue.sleepers, queue.waking) == (1, 0)


def test_a_woken_worker_whose_item_was_taken_sleeps_again(make: Make) -> None:
    queue = make(4)
    assert queue.try_take()[0] == SLEEP
    queue.put("item")
    queue.wake()
    assert queue.try_take() == (ITEM, "item")  # an awake worker was faster
    queue.sleep()
    assert queue.try_take(woken=True)[0] == SLEEP
    assert (queue.sleepers, queue.waking) == (1, 0)


@pytest.mark.parametrize(("putters", "takers"), [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_every_item_is_taken_exactly_once(make: Make, putters: int, takers: int) -> None:
    each = 100_000 // putters
    queue = make(64)
    taken: list[list[int]] = [[] for _ in range(takers)]

    def put(first: int) -> None:
        for number in range(first, first + each):
            while queue.put(number) < 0:
                queue.wake()
                time.sleep(0)  # releases the GIL: otherwise the takers would wait for it, 5 ms each time
        queue.wake()

    def take_all(mine: list[int]) -> None:
        while (item := take(queue)) is not None:
            assert isinstance(item, int)
            mine.append(item)

    putting = [threading.Thread(target=put, args=(n * each,), daemon=True) for n in range(putters)]
    taking = [threading.Thread(target=take_all, args=(mine,), daemon=True) for mine in taken]
    start(*taking, *putting)
    join(*putting)
    queue.close()
    join(*taking)
    assert Counter(item for mine in taken for item in mine) == Counter(range(putters * each))
    for mine in taken:  # first in, first out: what one taker has of one putter ascends
        for n in range(putters):
            of_one = [item for item in mine if item // each == n]
            assert of_one == sorted(of_one)


def test_no_wake_is_lost_when_the_queue_runs_empty_again_and_again(make: Make) -> None:
    """Each item is put only once the one before was taken, so that the taker is falling asleep just then."""
    queue = make(1)
    turns = 20_000
    back = make(1)

    def echo() -> None:
        while (item := take(queue)) is not None:
            back.put(item)
            back.wake()

    threads = [threading.Thread(target=echo, daemon=True) for _ in range(2)]
    start(*threads)
    for number in range(turns):
        assert queue.put(number) == number
        queue.wake()
        assert take(back) == number
    queue.close()
    join(*threads)


def test_a_held_item_cannot_be_taken_until_it_is_let_go(make: Make) -> None:
    queue = make(4)
    item = "item"
    ticket = queue.put(item)
    taken: list[object] = []
    asked, taking = (
        threading.Event(),
        threading.Thread(target=lambda: taken.append(take_when(asked)), daemon=True),
    )

    def take_when(event: threading.Event) -> object:
        event.set()
        return queue.try_take()

    assert queue.hold(ticket, item)
    start(taking)
    assert asked.wait(EVENT_TIMEOUT_S)
    taking.join(0.02)  # not for its end: to let it run into the lock, unless it waits there already
    assert taken == []
    queue.unhold()
    join(taking)
    assert taken == [(ITEM, "item")]


def test_an_item_that_was_taken_cannot_be_held(make: Make) -> None:
    queue = make(4)
    items = ["first", "second"]
    first, second = map(queue.put, items)
    queue.try_take()
    assert not queue.hold(first, items[0])
    assert queue.hold(second, items[1])
    queue.unhold()
    queue.try_take()
    assert not queue.hold(second, items[1])


def test_an_overloaded_queue_gives_the_last_item_first_until_it_is_empty(make: Make) -> None:
    queue = make(8)
    for number in range(4):
        queue.put(number)
    assert queue.try_take() == (ITEM, 0)
    queue.overloaded = True
    assert queue.try_take() == (ITEM, 3)
    queue.put(4)
    assert [queue.try_take()[1] for _ in range(3)] == [4, 2, 1]
    assert queue.try_take()[0] == SLEEP
    assert not queue.overloaded
    queue.put(5)
    queue.put(6)
    assert queue.try_take() == (ITEM, 5)


def test_the_first_items_of_an_overloaded_queue_expire(make: Make) -> None:
    queue = make(8)
    for item, age_s in (("late", 3600), ("also late", 3600), ("new", 0)):
        queue.put(item, age_s * SECOND_NS)
    assert queue.expire(time.monotonic_ns()) is None, "it is not overloaded"
    queue.overloaded = True
    assert queue.expire(time.monotonic_ns()) is None, "nothing was ever taken: turns may just last that long"
    assert queue.try_take() == (ITEM, "new")
    assert queue.expire(time.monotonic_ns()) == "late"
    assert queue.expire(time.monotonic_ns()) == "also late"
    assert queue.expire(time.monotonic_ns()) is None
    assert queue.length == 0


def test_what_has_waited_elsewhere_expires_sooner_in_an_overloaded_queue(make: Make) -> None:
    queue = make(8)
    assert queue.put("taken", elsewhere_ns=3600 * SECOND_NS) >= 0, "it is not overloaded"
    assert queue.put("old", elsewhere_ns=3600 * SECOND_NS) >= 0
    assert queue.try_take() == (ITEM, "taken")
    queue.overloaded = True
    assert queue.put("too old", elsewhere_ns=3600 * SECOND_NS) == OVERLOADED
    assert queue.put("new", elsewhere_ns=1) >= 0
    assert queue.expire(time.monotonic_ns()) == "old"
    assert queue.expire(time.monotonic_ns()) is None
    assert queue.try_take() == (ITEM, "new")


def test_a_ticket_that_was_given_again_finds_its_own_item_only(make: Make) -> None:
    queue = make(8)
    items = [object() for _ in range(3)]
    tickets = [queue.put(item) for item in items[:2]]
    queue.overloaded = True
    assert queue.try_take() == (ITEM, items[1])
    assert queue.put(items[2]) == tickets[1]
    assert not queue.withdraw(tickets[1], items[1])
    assert not queue.hold(tickets[1], items[1])
    assert queue.withdraw(tickets[1], items[2])
    assert queue.length == 1


@pytest.mark.parametrize("seed", range(20))
def test_any_order_of_puts_takes_and_withdrawals(make: Make, seed: int) -> None:
    """Against a list: each item leaves the queue once, from the end that is due, and no ticket finds a wrong one."""
    rng = random.Random(seed)
    queue, model = make(16), list[tuple[int, object]]()
    ever: list[tuple[int, object]] = []
    for _ in range(2000):
        match rng.choice(["put", "put", "take", "withdraw", "turn", "expire"]):
            case "put":
                item = object()
                ticket = queue.put(item)
                if ticket >= 0:
                    model.append((ticket, item))
                    ever.append((ticket, item))
            case "take":
                taken, item = queue.try_take()
                if taken == ITEM:
                    assert item is model.pop(-1 if queue.overloaded else 0)[1]
                else:
                    assert not model
                    queue.wake()
            case "withdraw" if ever:
                one = rng.choice(ever[-24:])
                assert queue.withdraw(*one) == (one in model)
                model = [other for other in model if other != one]
            case "turn":
                queue.overloaded = rng.random() < 0.5
            case "expire":
                if (item := queue.expire(time.monotonic_ns())) is not None:
                    assert queue.overloaded
                    assert item is model.pop(0)[1]


def test_queues_are_freed() -> None:
    before = counts()["queue"]
    made = [queues.PyRequestQueue(size) for size in (1, 1000)]
    assert counts()["queue"] == before + 2
    made.clear()
    assert counts()["queue"] == before


SHORT_NS, LONG_NS, MS = 5_000, 1_000_000, 1_000_000


def patient(turn_ns: int, sleeping: int = 2) -> tuple[queues.PyRequestQueue, queues.PyTaker]:
    """Return a patient queue with one worker in a turn, some asleep, and turns of about that length."""
    queue = queues.PyRequestQueue(100, patient=True)
    worker = queues.PyTaker()
    queue.put("under way")
    assert queue.try_take(worker=worker)[0] == ITEM
    for _ in range(sleeping):
        assert queue.try_take(worker=queues.PyTaker())[0] == SLEEP
    queue.turn_ns = turn_ns
    return queue, worker


def finish(queue: queues.PyRequestQueue) -> None:
    queue.close()
    while queue.try_take()[0] == ITEM:
        pass


def test_short_turns_go_to_the_worker_that_is_awake() -> None:
    queue, worker = patient(SHORT_NS)
    queue.put("next")
    queue.wake()
    assert (queue.sleepers, queue.waking, queue.awake) == (2, 0, 1)
    assert queue.try_take(worker=worker) == (ITEM, "next")
    finish(queue)


def test_a_sleeper_is_woken_if_no_worker_is_awake() -> None:
    queue, worker = patient(SHORT_NS)
    assert queue.try_take(worker=worker)[0] == SLEEP
    assert queue.awake == 0
    queue.turn_ns = SHORT_NS
    queue.put("next")
    queue.wake()
    assert (queue.sleepers, queue.waking) == (2, 1)
    finish(queue)


def test_long_turns_wake_a_sleeper() -> None:
    queue, _worker = patient(LONG_NS)
    queue.put("next")
    queue.wake()
    assert (queue.sleepers, queue.waking) == (1, 1)
    finish(queue)


def test_a_stalled_queue_wakes_a_sleeper_though_turns_are_short() -> None:
    queue, worker = patient(SHORT_NS)
    queue.put("next")
    queue.check(1 * MS)
    assert queue.waking == 0
    queue.check(2 * MS - 1)
    assert queue.waking == 0  # not yet a millisecond
    queue.check(2 * MS)
    assert (queue.sleepers, queue.waking) == (1, 1)
    queue.check(4 * MS)
    assert queue.waking == 1  # one at a time
    assert queue.try_take(worker=worker)[0] == ITEM
    assert queue.check(5 * MS) == (0, False)
    finish(queue)


def test_the_engine_rests_while_short_turns_move_the_queue_and_only_then() -> None:
    queue, worker = patient(SHORT_NS)
    for number in range(41):
        queue.put(number)
    assert queue.check(1 * MS)[0] == 41 * SHORT_NS * 3 // 4  # one was taken since the queue was made
    assert queue.check(1 * MS) == (0, True)  # none since then
    assert queue.try_take(worker=worker)[0] == ITEM
    queue.turn_ns = SHORT_NS
    assert queue.check(1 * MS)[0] == 40 * SHORT_NS * 3 // 4
    queue.turn_ns = LONG_NS
    assert queue.try_take(worker=queues.PyTaker())[0] == ITEM
    assert queue.check(1 * MS)[0] == 0
    finish(queue)


def test_the_length_of_turns_is_judged_by_their_median() -> None:
    """A few long turns among short ones do not move the estimate; a change of all turns does, within some dozens."""
    queue = queues.PyRequestQueue(100_000, patient=True)
    worker = queues.PyTaker()
    for _ in range(200):
        queue.put(None)
        assert queue.try_take(worker=worker)[0] == ITEM  # each turn ends when the next begins: at once
    assert queue.turn_ns < 100_000
    finish(queue)


# --- withdrawing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("withdrawn", [(0,), (1,), (3,), (0, 1), (1, 0), (1, 2), (3, 2, 1, 0)])
def test_what_was_withdrawn_is_not_taken_and_the_rest_is_in_order(
    make: Make, withdrawn: tuple[int, ...]
) -> None:
    queue = make(4)
    items = [object() for _ in range(4)]
    tickets = [queue.put(item) for item in items]
    for number in withdrawn:
        assert queue.withdraw(tickets[number], items[number])
    left = [item for number, item in enumerate(items) if number not in withdrawn]
    assert [queue.try_take()[1] for _ in left] == left
    assert queue.try_take()[0] == SLEEP


def test_what_was_taken_cannot_be_withdrawn(make: Make) -> None:
    queue = make(4)
    ticket = queue.put("taken")
    queue.put("waits")
    assert queue.try_take() == (ITEM, "taken")
    assert not queue.withdraw(ticket, "taken")
    assert queue.try_take() == (ITEM, "waits")


def test_tickets_begin_again_after_the_largest(make: Make) -> None:
    queue = make(4, ticket=2**32 - 2)
    items = [object() for _ in range(4)]
    tickets = [queue.put(item) for item in items]
    assert tickets == [2**32 - 2, 2**32 - 1, 0, 1]
    assert queue.try_take() == (ITEM, items[0])
    assert not queue.withdraw(tickets[0], items[0])
    assert queue.withdraw(tickets[2], items[2])
    assert queue.withdraw(tickets[1], items[1])
    assert queue.try_take() == (ITEM, items[3])


def test_the_places_at_both_ends_are_free_at_once(make: Make) -> None:
    queue = make(3)
    first, second, third = (queue.put(item) for item in ("first", "second", "third"))
    assert queue.put("fourth") < 0
    assert queue.withdraw(second, "second")
    assert queue.put("fourth") < 0, "it is between two others"
    assert queue.withdraw(first, "first")
    assert queue.put("fourth") == third + 1
    assert queue.withdraw(third + 1, "fourth")
    assert queue.put("fifth") == third + 1
    assert [queue.try_take() for _ in range(2)] == [(ITEM, "third"), (ITEM, "fifth")]


def test_each_item_is_either_taken_or_withdrawn(make: Make) -> None:
    total, workers = 20_000, 3
    queue = make(64)
    taken: list[list[int]] = [[] for _ in range(workers)]
    withdrawn: list[int] = []

    def take_all(mine: list[int]) -> None:
        while (item := take(queue)) is not None:
            assert isinstance(item, int)
            mine.append(item)

    threads = [threading.Thread(target=take_all, args=(mine,)) for mine in taken]
    start(*threads)
    for number in range(total):
        while (ticket := queue.put(number)) < 0:
            queue.wake()
        queue.wake()
        if number % 3 == 0 and queue.withdraw(ticket, number):
            withdrawn.append(number)
    queue.close()
    join(*threads)
    assert sorted(sum(taken, withdrawn)) == list(range(total))
    assert withdrawn
