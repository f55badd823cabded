"""The board: who listens, who leaves newcomers to others, and what is left of a process that has ended."""

import os
import random

import pytest

from halfsync.native.system import readable
from halfsync.shared.scoreboard import Board, Seat


def seats(board: Board, number: int) -> list[Seat]:
    taken = [board.seat(index) for index in range(number)]
    for seat in taken:
        seat.take()
        seat.serve()
    return taken


def test_one_process_always_listens() -> None:
    (seat,) = seats(Board(4), 1)
    for _ in range(1000):
        assert seat.listens()
        seat.add(1)
    assert seat.open == 1000


def test_process_that_does_not_serve_does_not_listen() -> None:
    seat = Board(4).seat(2)
    assert seat.state == "empty" and not seat.listens()
    seat.take()
    assert seat.state == "booting" and not seat.listens()
    seat.serve()
    assert seat.state == "serving" and seat.listens()
    seat.leave()
    assert seat.state == "leaving" and not seat.listens()
    seat.left()
    assert seat.state == "left" and not seat.listens()
    seat.leave()
    assert seat.state == "left"  # it was told again


@pytest.mark.parametrize("number", [2, 3, 4, 8, 16])
def test_no_process_has_twice_its_share_and_somebody_always_listens(number: int) -> None:
    """64 newcomers, each taken by the first that listens: the worst that the kernel could do."""
    board = Board(number)
    processes = seats(board, number)
    for _ in range(64):
        next(seat for seat in processes if seat.listens()).add(1)
    assert max(seat.open for seat in processes) <= 2 * 64 / number


def test_somebody_listens_whatever_comes_and_goes() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    board = Board(8)
    processes = seats(board, 8)
    for _ in range(5_000):
        listening = [seat for seat in processes if seat.listens()]
        assert listening
        chance.choice(listening).add(1)
        busy = [seat for seat in processes if seat.open]
        for seat in chance.sample(busy, min(len(busy), chance.randrange(3))):
            seat.add(-1)


def test_share_of_a_process_that_has_ended_is_the_others() -> None:
    board = Board(2)
    one, other = seats(board, 2)
    one.add(10)
    for _ in range(9):
        one.add(1)
    assert not one.listens()
    other.clear()
    assert one.listens()


def test_who_becomes_deaf_rings_for_those_who_are() -> None:
    board = Board(3)
    one, other, third = seats(board, 3)
    bell = board.bell_fd
    os.read(bell, 8)  # of taking the seats
    for _ in range(10):
        one.add(1)
    assert not one.listens()
    assert readable([bell], 0) == []  # the two others listen anyway
    for _ in range(20):
        other.add(1)
    assert not other.listens()
    assert readable([bell], 0) == [bell]
    assert one.listens() and third.listens()


def test_seat_is_counted_for_all_who_see_it_and_cleared_for_the_next() -> None:
    board = Board(2)
    board.seat(0).take()
    child = os.fork()
    if child == 0:
        seat = board.seat(0)
        seat.serve()
        seat.count_request()
        seat.stuck = 3
        os._exit(0)
    os.waitpid(child, 0)
    seat = board.seat(0)
    assert (seat.state, seat.requests, seat.stuck) == ("serving", 1, 3)
    assert board.serving == 1
    seat.clear()
    assert (seat.state, seat.requests, seat.stuck) == ("empty", 0, 0)
    assert board.serving == 0


def test_board_has_only_the_seats_that_it_was_made_with() -> None:
    board = Board(2)
    with pytest.raises(ValueError, match="no seat 2"):
        board.seat(2)
    board.close()
