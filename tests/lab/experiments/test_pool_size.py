"""The verdict on how many threads pay follows from the figures."""

from collections.abc import Mapping

import pytest

from halfsync.lab.experiment import Outcome
from halfsync.lab.experiments.pool_size import COMPUTES, WAITS, PoolSize, best, stops_paying
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, line, samples
from tests.lab.experiments.judging import judged

GROWS = line("rate", {1.0: 95.0, 8.0: 760.0, 32.0: 2900.0, 128.0: 5000.0, 512.0: 4800.0})
FLAT = line("rate", {1.0: 900.0, 8.0: 880.0, 32.0: 870.0, 128.0: 850.0, 512.0: 700.0})
TYPICAL = {WAITS: GROWS, COMPUTES: FLAT}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(PoolSize(), found)


def test_typical_figures_hold() -> None:
    chosen = {**TYPICAL, COMPUTES: {**FLAT, 8.0: {"rate": 880.0, "auto": 1.0}}}
    outcome, sentence = judge(samples(chosen, rounds=(1.0,)))
    assert outcome is Outcome.HOLDS
    assert sentence == (
        "More threads give 52.6 times the answers of 1 thread to an application that waits 10 ms and 1 times "
        "the answers of 1 thread to an application that computes 1 ms. They stop paying at 128 (waits 10 ms) "
        "and 1 (computes 1 ms). `--threads auto` chose 8, which gives 15 % (waits 10 ms) and 98 % (computes 1 "
        "ms) of the most."
    )


def test_it_is_within_a_limit_if_threads_help_one_that_computes_too() -> None:
    without_the_gil = line("rate", {1.0: 900.0, 8.0: 3500.0, 32.0: 3600.0})
    assert judge(samples({WAITS: GROWS, COMPUTES: without_the_gil}))[0] is Outcome.WITHIN_A_LIMIT


def test_it_is_not_seen_if_threads_help_both_alike_or_none() -> None:
    assert judge(samples({WAITS: GROWS, COMPUTES: GROWS}))[0] is Outcome.NOT_SEEN
    assert judge(samples({WAITS: FLAT, COMPUTES: FLAT}))[0] is Outcome.NOT_SEEN


def test_noise_or_spread_above_the_difference_hides_it() -> None:
    little = line("rate", {1.0: 95.0, 8.0: 400.0})
    curves = {WAITS: little, COMPUTES: FLAT}
    assert judge(samples(curves))[0] is Outcome.HOLDS
    assert judge(samples(curves, twin=(WAITS, 8.0, {"rate": 300.0})))[0] is Outcome.NOT_SEEN
    assert judge(samples({WAITS: line("rate", {1.0: 95.0, 8.0: 190.0}), COMPUTES: FLAT}, rounds=WIDE))[0] is (
        Outcome.NOT_SEEN
    )


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {WAITS: GROWS},
        {COMPUTES: FLAT},
        {WAITS: line("rate", {1.0: 95.0}), COMPUTES: FLAT},
        {WAITS: line("rate", {8.0: 95.0, 32.0: 100.0}), COMPUTES: FLAT},
    ],
)
def test_too_little_is_not_judged(curves: Mapping[str, Mapping[float, Mapping[str, float]]]) -> None:
    assert judge(samples(curves))[0] is Outcome.NOT_MEASURED


def test_threads_stop_paying_near_the_most() -> None:
    curve = samples({WAITS: GROWS}, rounds=(1.0,)).curve(WAITS, "rate")
    assert best(curve).mid == 5000.0
    assert stops_paying(curve) == 128.0
