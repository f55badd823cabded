"""The rows in which workers note their turns: free ones are found, whole ones are read, those of the dead are freed."""

import os
import threading

import pytest

from halfsync.shared.activity import Activity
from halfsync.shared.scoreboard import Scoreboard
from halfsync.testing.turns import PATH_BYTES, REFUSALS, ROWS, Turns

PID, OTHER_PID = 2**22 + 1, 2**22 + 2  # above the largest pid of Linux: no process has them


@pytest.fixture
def turns() -> Turns:
    return Turns(Activity())


def test_a_turn_is_read_from_its_begin_to_its_end(turns: Turns) -> None:
    index = turns.begin(0, PID, 3, b"GET", b"/cart", 1)
    assert turns.read(index) == (PID, 3, b"GET", b"/cart", 5)
    turns.end(index, PID)
    assert turns.read(index) is None


def test_each_turn_has_a_row_and_a_thread_finds_its_own_again(turns: Turns) -> None:
    first, second = (turns.begin(0, PID, 0, b"GET", path, 1) for path in (b"/1", b"/2"))
    assert first != second
    turns.end(first, PID)
    turns.end(second, PID)
    assert turns.begin(second, PID, 0, b"GET", b"/3", 1) == second
    assert turns.used == 2


def test_more_turns_than_rows_are_not_noted(turns: Turns) -> None:
    assert [turns.begin(0, PID, 0, b"GET", b"/", 1) for _ in range(ROWS)] == list(range(ROWS))
    assert turns.begin(0, PID, 0, b"GET", b"/", 1) == -1
    turns.end(700, PID)
    assert turns.begin(0, PID, 0, b"GET", b"/late", 1) == 700


def test_a_long_path_is_cut_and_its_length_is_kept(turns: Turns) -> None:
    path = b"/" + bytes(range(0x21, 0x7F)) * 5
    index = turns.begin(0, PID, 0, b"A" * 30, path, 1)
    assert turns.read(index) == (PID, 0, b"A" * 16, path[:PATH_BYTES], len(path))


def test_the_ids_of_a_request_are_kept_if_it_has_some(turns: Turns) -> None:
    index = turns.begin(0, PID, 0, b"GET", b"/", 1, b"i" * 128, b"t" * 32)
    assert turns.ids(index) == (b"i" * 128, b"t" * 32)
    turns.end(index, PID)
    assert turns.begin(index, PID, 0, b"GET", b"/", 1) == index
    assert turns.ids(index) == (b"", b"")


def test_no_reader_sees_half_of_a_turn(turns: Turns) -> None:
    """One thread writes without the GIL, and this one reads at the same time."""
    index = turns.begin(0, PID, 0, b"GET", b"/", 1)
    turns.write_many(index, 1)
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            turns.write_many(index, 100_000)

    writer = threading.Thread(target=write)
    writer.start()
    read = torn = 0
    try:
        while read < 200_000:
            more, bad = turns.read_many(index, 100_000)
            read, torn = read + more, torn + bad
    finally:
        over.set()
        writer.join()
    assert torn == 0


def test_rows_of_a_process_that_has_ended_are_freed_with_its_slot_and_no_others() -> None:
    scoreboard = Scoreboard(4)
    turns = Turns(scoreboard.activity)
    slot = scoreboard.slot(2)
    slot.take()
    slot.describe("app", "thread", 4)  # by this process
    mine = turns.begin(0, os.getpid(), 2, b"GET", b"/mine", 1)
    dead_child = turns.begin(0, PID, 2, b"GET", b"/child", 1)
    living_child = turns.begin(0, os.getppid(), 2, b"GET", b"/child", 1)
    other = turns.begin(0, OTHER_PID, 1, b"GET", b"/other", 1)
    slot.clear()
    assert turns.read(mine) is turns.read(dead_child) is None
    assert turns.read(living_child) is not None
    assert turns.read(other) is not None
    scoreboard.close()


def test_rows_of_a_child_that_was_killed_are_freed_by_its_pid() -> None:
    activity = Activity()
    turns = Turns(activity)
    killed, other = turns.begin(0, PID, 0, b"GET", b"/", 1), turns.begin(0, OTHER_PID, 0, b"GET", b"/", 1)
    activity.end_child(PID)
    assert turns.read(killed) is None
    assert turns.read(other) is not None
    turns.end(killed, PID)  # it was not dead after all: nothing happens
    assert turns.begin(killed, OTHER_PID, 0, b"GET", b"/next", 1) == killed
    turns.end(killed, PID)


def test_the_last_refusals_are_kept(turns: Turns) -> None:
    assert turns.refusals() == []
    for number in range(REFUSALS + 5):
        turns.refuse(400 + number, b"a reason", b"/%d" % number)
    assert sorted(turns.refusals()) == [
        (400 + number, b"a reason", b"/%d" % number) for number in range(5, REFUSALS + 5)
    ]


def test_a_long_reason_is_cut(turns: Turns) -> None:
    turns.refuse(400, b"x" * 500, b"/")
    assert turns.refusals() == [(400, b"x" * 95, b"/")]
