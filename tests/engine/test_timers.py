"""The timer wheel against a plain dict of deadlines."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from halfsync.testing.timer_wheel import TICK_NS as TICK
from halfsync.testing.timer_wheel import WHEEL_TICKS, PyTimer, PyWheel

TURN = WHEEL_TICKS * TICK
LATE = 2 * TICK  # what the wheel promises


class Loop:
    """An engine with a clock of its own: it waits as long as the wheel says, and looks at what is due."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.wheel = PyWheel(now)
        self.deadlines: dict[PyTimer, int] = {}
        self.fired = 0
        self.looks = 0

    def set(self, timer: PyTimer, after: int) -> None:
        self.deadlines[timer] = self.now + after
        self.wheel.set(timer, self.now + after)

    def put_off(self, timer: PyTimer, by: int) -> None:
        """Move a deadline later without telling the wheel, as every request does."""
        self.deadlines[timer] += by

    def clear(self, timer: PyTimer) -> None:
        self.deadlines.pop(timer, None)
        self.wheel.clear(timer)

    def fire(self, late: int = LATE) -> None:
        """Look at every timer whose slot has come. One that is not due yet is set again."""
        while (timer := self.wheel.due(self.now)) is not None:
            self.looks += 1
            deadline = self.deadlines[timer]
            if deadline > self.now:
                self.wheel.set(timer, deadline)
            else:
                assert self.now - deadline <= late
                del self.deadlines[timer]
                self.fired += 1
        assert not [left for left in self.deadlines.values() if self.now - left >= late]

    def run(self, duration: int) -> None:
        """Let the time pass in waits as long as the wheel says, each a second at most, as the engine's."""
        end = self.now + duration
        while self.now < end:
            wait = self.wheel.next(self.now)
            assert wait >= 0 or not self.deadlines, "a deadline was forgotten"
            self.now = min(end, self.now + min(10**9, wait if wait >= 0 else 10**9))
            self.fire()

    def pause(self, duration: int) -> None:
        """Let the time pass at once, as when the process was stopped."""
        self.now += duration
        self.fire(late=LATE + duration)


STARTS = st.integers(0, 2**62) | st.sampled_from([0, TICK - 1, TICK, TURN - 1, TURN, 2**62])
DELAYS = st.integers(0, 3 * TURN) | st.sampled_from(
    [0, 1, TICK - 1, TICK, TICK + 1, TURN - TICK, TURN, TURN + TICK]
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["set", "put off", "clear", "run", "pause"]), st.integers(0, 9), DELAYS),
    max_size=40,
)


@settings(max_examples=150)
@given(start=STARTS, steps=STEPS)
@example(
    start=0,
    steps=[("set", 0, 3 * TURN), ("set", 0, 1), ("set", 1, TURN), ("pause", 0, 2 * TURN), ("run", 0, TURN)],
)
@example(start=TICK - 1, steps=[("set", 0, 1), ("set", 1, 0), ("put off", 0, TURN), ("run", 0, TICK)])
def test_deadlines_fire_never_early_and_at_most_two_ticks_late(
    start: int, steps: list[tuple[str, int, int]]
) -> None:
    loop = Loop(start)
    timers = [PyTimer() for _ in range(10)]
    for step, which, delay in steps:
        timer = timers[which]
        if step == "set":
            loop.set(timer, delay)
        elif step == "put off" and timer in loop.deadlines:
            loop.put_off(timer, delay)
        elif step == "clear":
            loop.clear(timer)
        elif step == "run":
            loop.run(delay // 8)
        elif step == "pause":
            loop.pause(delay)
    if loop.deadlines:
        loop.run(max(loop.deadlines.values()) - loop.now + LATE)
    assert not loop.deadlines
    assert loop.wheel.next(loop.now) == -1
    assert loop.wheel.due(loop.now + 4 * TURN) is None


def test_an_empty_wheel_says_so() -> None:
    wheel = PyWheel(12345)
    assert wheel.next(12345) == -1
    assert wheel.due(12345 + 10 * TURN) is None
    assert wheel.next(12345 + 10 * TURN) == -1


def test_a_timer_set_far_and_then_near_fires_near() -> None:
    loop = Loop(7 * TICK)
    timer = PyTimer()
    loop.set(timer, TURN // 2)
    loop.set(timer, TICK)
    loop.run(TICK + LATE)
    assert loop.fired == 1
    assert loop.wheel.next(loop.now) == -1


def test_a_postponed_deadline_costs_nothing_until_its_slot_is_due() -> None:
    loop = Loop(0)
    timer = PyTimer()
    loop.set(timer, 10 * TICK)
    for _ in range(1000):
        loop.put_off(timer, TICK)
    loop.run(9 * TICK)
    assert loop.looks == 0
    loop.run(1001 * TICK + LATE)
    assert (loop.fired, loop.looks) == (1, 2)


def test_setting_a_later_deadline_does_not_move_the_timer() -> None:
    loop = Loop(0)
    timer = PyTimer()
    loop.set(timer, TICK)
    before = loop.wheel.next(0)
    loop.set(timer, TURN // 2)
    assert loop.wheel.next(0) == before


def test_a_far_deadline_is_looked_at_once_a_revolution() -> None:
    loop = Loop(0)
    loop.set(PyTimer(), 5 * TURN + TURN // 2)
    loop.run(6 * TURN)
    assert loop.fired == 1
    assert loop.looks == 6


def test_clearing_twice_or_what_was_never_set_does_nothing() -> None:
    wheel = PyWheel(0)
    timer, other = PyTimer(), PyTimer()
    wheel.clear(timer)
    wheel.set(timer, TICK)
    wheel.set(other, TICK)
    wheel.clear(timer)
    wheel.clear(timer)
    assert wheel.next(0) >= 0
    assert wheel.due(TURN) is other
    assert wheel.due(TURN) is None


@pytest.mark.parametrize("slot", [0, 1, 62, 63, 64, 65, 127, 128, 1022, 1023])
@pytest.mark.parametrize("start", [0, 63, 64, 1023])
def test_the_next_slot_is_found_wherever_it_stands(start: int, slot: int) -> None:
    wheel = PyWheel(start * TICK)
    wheel.set(PyTimer(), (start + slot) * TICK)
    wait = wheel.next(start * TICK)
    assert slot * TICK <= wait <= (slot + 1) * TICK
    assert wheel.due(start * TICK + wait - 1) is None
    assert wheel.due(start * TICK + wait) is not None
