"""The settings that are tried lie around what Little's law says, and are accepted by halfsync."""

import pytest

from halfsync.lab.tune.candidates import (
    DEFAULT,
    DEFAULT_QUEUE,
    SERIES,
    Candidate,
    Capacity,
    candidates,
    nearest,
    queue_for,
)
from halfsync.lab.tune.scalability import Scalability
from halfsync.lab.tune.turns import Turn
from halfsync.settings import Settings

WAITS = Capacity(Turn(0.020, 0.00015, 0.00012), Scalability(50.0, 0.006, 0.0), processors=2)
COMPUTES = Capacity(Turn(0.002, 0.002, 0.002), Scalability(500.0, 1.0, 0.0), processors=2)


def test_the_default_is_that_of_the_server() -> None:
    settings = Settings()
    assert (DEFAULT.model, DEFAULT.threads, DEFAULT.queue_size) == (
        settings.model,
        settings.threads,
        settings.queue_size,
    )
    assert settings.workers is None
    assert "--workers" not in DEFAULT.flags


def test_the_default_is_tried_first_and_each_once() -> None:
    tried = candidates(WAITS, most_workers=100)
    assert tried[0] == DEFAULT
    assert len(set(tried)) == len(tried)


def test_as_many_threads_are_tried_as_are_busy_and_more() -> None:
    assert WAITS.busy_threads(1) == pytest.approx(167, rel=0.01)
    alone = [one.threads for one in candidates(WAITS, most_workers=100) if one.workers == 1]
    assert {96, 192, 384, 512} <= set(alone)


def test_an_application_that_computes_gets_processes_and_few_threads() -> None:
    tried = candidates(COMPUTES, most_workers=100)
    assert {one.workers for one in tried} == {1, 2, 4}
    assert max(one.threads for one in tried) == 4


def test_there_are_no_more_processes_than_fit() -> None:
    assert {one.workers for one in candidates(COMPUTES, most_workers=2)} == {1, 2}
    assert {one.workers for one in candidates(COMPUTES, most_workers=0)} == {1}


def test_what_processors_can_do_limits_what_processes_do() -> None:
    assert COMPUTES.rate(1, 8) == pytest.approx(500)
    assert COMPUTES.rate(2, 8) == COMPUTES.rate(4, 8) == pytest.approx(1000)


def test_threads_past_the_best_number_count_as_that() -> None:
    capacity = Capacity(Turn(0.02, 0.0001, 0.0001), Scalability(50.0, 0.0, 0.01), processors=8)
    assert capacity.rate(1, 500) == capacity.rate(1, 10)


def test_the_nearest_number_of_threads() -> None:
    assert [nearest(threads) for threads in (0.1, 1.4, 1.5, 5, 100, 5000)] == [1, 1, 2, 6, 96, 512]
    assert set(SERIES) <= set(range(1, 1025))


def test_queues_hold_what_is_answered_while_clients_wait() -> None:
    assert queue_for(400.0, 2, 1.0) == 200
    assert queue_for(10.0, 2, 1.0) == 16
    assert queue_for(1e6, 2, 1.0) == DEFAULT_QUEUE


def test_what_is_preferred() -> None:
    order = [
        Candidate(threads=4),
        Candidate(threads=8),
        Candidate(threads=3),
        Candidate(threads=1),
        Candidate(workers=2, threads=4, queue_size=100),
        Candidate(workers=2, threads=4),
        Candidate("pool"),
    ]
    assert sorted(set(order), key=lambda one: one.preference) == order


def test_a_candidate_is_said_in_words() -> None:
    assert str(DEFAULT) == "proactor, 1 process of 4 threads"
    assert str(Candidate("pool", 2, 1, 64)) == "pool, 2 processes of 1 thread, queue_size 64"
