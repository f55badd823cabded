"""Whether a process accepts, when it checks that again, and which listeners it leaves to other processes."""

import errno
import os
import resource
import socket
from collections.abc import Iterator

import pytest

from halfsync.shared.scoreboard import Scoreboard, Slot
from halfsync.testing import rules

CHECK_NS = 20_000_000  # between two looks at the backlog
NEGLECT_NS = 100_000_000
FAR_OVER = 100  # connections


@pytest.fixture
def scoreboard() -> Iterator[Scoreboard]:
    """Return a scoreboard with room for two processes."""
    made = Scoreboard(2)
    yield made
    made.close()


@pytest.fixture
def over(scoreboard: Scoreboard) -> Slot:
    """Return the slot of a process that is far over its share: the other one has no connection."""
    slots = scoreboard.slot(0), scoreboard.slot(1)
    for slot in slots:
        slot.take()
        slot.serve()
    for _ in range(FAR_OVER):
        slots[0].add(1)
    return slots[0]


def test_the_only_process_accepts_and_never_looks() -> None:
    assert rules.may_accept(None, waits=True, now=1) == (True, 0)
    assert rules.next_accept_check(None, may=True, again=0, now=1) is None


def test_a_process_within_its_share_accepts_and_does_not_look(scoreboard: Scoreboard) -> None:
    slot = scoreboard.slot(0)
    slot.take()
    slot.serve()
    assert rules.may_accept(slot, waits=True, now=1) == (True, 0)
    assert rules.next_accept_check(slot, may=True, again=0, now=1) is None


def test_a_process_over_its_share_looks_now_and_then_and_accepts_what_is_neglected(over: Slot) -> None:
    now = 1
    assert rules.may_accept(over, waits=True, now=now) == (False, 1)
    assert rules.may_accept(over, waits=True, now=now + CHECK_NS - 1) == (False, 0)
    while now < NEGLECT_NS:
        now += CHECK_NS
        may, looks = rules.may_accept(over, waits=True, now=now)
        assert looks == 1
        assert may == (now - 1 >= NEGLECT_NS)
    assert rules.may_accept(over, waits=False, now=now + CHECK_NS) == (False, 1)


def test_what_is_accepted_by_others_in_between_is_not_neglected(over: Slot) -> None:
    for number in range(20):
        waits = number % 4 != 0
        assert rules.may_accept(over, waits=waits, now=1 + number * CHECK_NS) == (False, 1)


def test_a_process_that_does_not_serve_neither_accepts_nor_looks(over: Slot) -> None:
    over.stop_accepting()
    assert rules.may_accept(over, waits=True, now=1) == (False, 0)


def test_a_process_over_its_share_checks_again_soon(over: Slot) -> None:
    rules.may_accept(over, waits=False, now=1)
    for may in (True, False):
        assert rules.next_accept_check(over, may=may, again=0, now=7) == 7 + CHECK_NS


def test_a_process_that_may_not_accept_checks_again_unless_an_event_tells_it(scoreboard: Scoreboard) -> None:
    slot = scoreboard.slot(0)
    slot.take()
    assert rules.next_accept_check(slot, may=False, again=0, now=7) == 7 + CHECK_NS
    assert rules.next_accept_check(slot, may=True, again=0, now=7) is None


@pytest.mark.parametrize(("again", "check"), [(6, None), (7, None), (8, 8), (7 + CHECK_NS, 7 + CHECK_NS)])
def test_a_pause_has_an_end(again: int, check: int | None) -> None:
    assert rules.next_accept_check(None, may=True, again=again, now=7) == check


def test_the_end_of_a_pause_may_come_after_the_next_look(over: Slot) -> None:
    assert rules.next_accept_check(over, may=False, again=8, now=7) == 8
    assert rules.next_accept_check(over, may=False, again=7 + 2 * CHECK_NS, now=7) == 7 + CHECK_NS


@pytest.mark.parametrize(
    ("exclusive", "kept"),
    [
        (None, list(range(70))),
        ([], []),
        ([0, 2], [0, 2]),
        ([61], [61]),
        ([62], list(range(62, 70))),  # one bit for all of these
        ([69], list(range(62, 70))),
    ],
)
def test_listeners_are_kept_if_nobody_else_accepts_there(
    exclusive: list[int] | None, kept: list[int]
) -> None:
    assert rules.kept_listeners(exclusive, 70) == kept


def test_accepting_returns_a_connection_or_why_there_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        assert rules.accept_next(listener.fileno()) == -errno.EAGAIN
        with (
            socket.create_connection(listener.getsockname()) as client,
            socket.socket(fileno=rules.accept_next(listener.fileno())) as accepted,
        ):
            assert accepted.getpeername() == client.getsockname()
            assert not os.get_inheritable(accepted.fileno())
            assert not os.get_blocking(accepted.fileno())
        assert rules.accept_next(listener.fileno()) == -errno.EAGAIN


def test_accepting_says_when_no_descriptor_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with socket.create_connection(listener.getsockname()):
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
            try:
                result = rules.accept_next(listener.fileno())
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert result == -errno.EMFILE
            os.close(rules.accept_next(listener.fileno()))
