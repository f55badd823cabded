"""The scoreboard: which processes accept, which leave new connections to others, and the slot of one that has ended."""

import os
import random

import pytest

from halfsync.native.system import readable
from halfsync.shared.scoreboard import Scoreboard, Slot


def slots(scoreboard: Scoreboard, number: int) -> list[Slot]:
    taken = [scoreboard.slot(index) for index in range(number)]
    for slot in taken:
        slot.take()
        slot.serve()
    return taken


def test_one_process_always_listens() -> None:
    (slot,) = slots(Scoreboard(4), 1)
    for _ in range(1000):
        assert slot.may_accept()
        slot.add(1)
    assert slot.open == 1000


def test_process_that_does_not_serve_does_not_listen() -> None:
    slot = Scoreboard(4).slot(2)
    assert slot.state == "empty" and not slot.may_accept()
    slot.take()
    assert slot.state == "booting" and not slot.may_accept()
    slot.serve()
    assert slot.state == "serving" and slot.may_accept()
    slot.stop_accepting()
    assert slot.state == "closing" and not slot.may_accept()
    slot.note_closed()
    assert slot.state == "closed" and not slot.may_accept()
    slot.stop_accepting()
    assert slot.state == "closed"  # it was closed again


@pytest.mark.parametrize("number", [2, 3, 4, 8, 16])
def test_no_process_has_twice_its_share_and_one_always_accepts(number: int) -> None:
    """64 connections, each taken by the first process that accepts: the kernel's worst case."""
    scoreboard = Scoreboard(number)
    processes = slots(scoreboard, number)
    for _ in range(64):
        next(slot for slot in processes if slot.may_accept()).add(1)
    assert max(slot.open for slot in processes) <= 2 * 64 / number


def test_one_process_always_accepts() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    scoreboard = Scoreboard(8)
    processes = slots(scoreboard, 8)
    for _ in range(5_000):
        listening = [slot for slot in processes if slot.may_accept()]
        assert listening
        chance.choice(listening).add(1)
        busy = [slot for slot in processes if slot.open]
        for slot in chance.sample(busy, min(len(busy), chance.randrange(3))):
            slot.add(-1)


def test_share_of_a_process_that_has_ended_is_the_others() -> None:
    scoreboard = Scoreboard(2)
    one, other = slots(scoreboard, 2)
    one.add(10)
    for _ in range(9):
        one.add(1)
    assert not one.may_accept()
    other.clear()
    assert one.may_accept()


def test_a_process_over_its_share_wakes_the_others_that_are() -> None:
    scoreboard = Scoreboard(3)
    one, other, third = slots(scoreboard, 3)
    wakeup = scoreboard.wakeup_fd
    os.read(wakeup, 8)  # of taking the slots
    for _ in range(10):
        one.add(1)
    assert not one.may_accept()
    assert readable([wakeup], 0) == []  # the two others listen anyway
    for _ in range(20):
        other.add(1)
    assert not other.may_accept()
    assert readable([wakeup], 0) == [wakeup]
    assert one.may_accept() and third.may_accept()


def test_slot_is_visible_to_all_processes_and_cleared_for_the_next() -> None:
    scoreboard = Scoreboard(2)
    scoreboard.slot(0).take()
    child = os.fork()
    if child == 0:
        slot = scoreboard.slot(0)
        slot.serve()
        slot.count_request()
        slot.stuck = 3
        os._exit(0)
    os.waitpid(child, 0)
    slot = scoreboard.slot(0)
    assert (slot.state, slot.requests, slot.stuck) == ("serving", 1, 3)
    assert scoreboard.serving == 1
    slot.clear()
    assert (slot.state, slot.requests, slot.stuck) == ("empty", 0, 0)
    assert scoreboard.serving == 0


def test_scoreboard_has_only_the_slots_that_it_was_made_with() -> None:
    scoreboard = Scoreboard(2)
    with pytest.raises(ValueError, match="no slot 2"):
        scoreboard.slot(2)
    scoreboard.close()
