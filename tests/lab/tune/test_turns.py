"""What a request takes is told from what one is alone, and from what more threads give."""

import pytest

from halfsync.lab.tune.candidates import Candidate
from halfsync.lab.tune.turns import Throughput, split
from tests.lab.tune.surfaces import Surface


def curve(surface: Surface, most: int) -> list[Throughput]:
    return [surface.saturated(Candidate(threads=2**power), 1.0, 1.0) for power in range(most.bit_length())]


@pytest.mark.parametrize(
    ("wall_ms", "cpu_ms", "gil_ms"),
    [
        (2.0, 2.0, 2.0),  # computes in Python
        (2.0, 2.0, 0.2),  # computes, mostly without the GIL
        (12.0, 2.0, 1.8),  # waits, and computes
    ],
)
def test_the_parts_of_a_turn(wall_ms: float, cpu_ms: float, gil_ms: float) -> None:
    surface = Surface(wall_ms / 1000, cpu_ms / 1000, gil_ms / 1000, processors=64, noise=0.0)
    turn = split(wall_ms / 1000, cpu_ms / 1000, curve(surface, 256))
    assert turn.cpu_s * 1000 == pytest.approx(cpu_ms)
    assert turn.gil_s * 1000 == pytest.approx(gil_ms, rel=0.1)
    assert turn.blocking_s * 1000 == pytest.approx(wall_ms - cpu_ms)
    assert not turn.is_locked


def test_waiting_that_excludes_others_is_no_computing() -> None:
    surface = Surface(0.010, 0.0002, 0.005, processors=2, noise=0.0)
    turn = split(0.010, 0.0002, curve(surface, 16))
    assert turn.gil_s == pytest.approx(0.005, rel=0.1)
    assert turn.is_locked


def test_threads_that_are_all_in_turns_limit_nothing_else() -> None:
    turn = split(2.0, 0.0005, [Throughput(1, 0.5, 0.00025), Throughput(8, 4.0, 0.002)])
    assert turn.gil_s == pytest.approx(0.0005)
    assert not turn.is_measured
    assert turn.blocking_s == pytest.approx(1.9995)


def test_computing_is_what_it_costs_at_best() -> None:
    turn = split(0.002, 0.0021, [Throughput(1, 490, 0.98), Throughput(2, 400, 1.0)])
    assert turn.cpu_s == pytest.approx(0.002)


def test_no_turn_waits_for_less_than_nothing() -> None:
    turn = split(0.001, 0.0013, [Throughput(1, 700, 0.95)])
    assert turn.blocking_s == 0
