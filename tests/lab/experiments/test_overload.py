"""The verdict on overload follows from the figures."""

from collections.abc import Mapping

import pytest

from halfsync.lab.experiment import Outcome
from halfsync.lab.experiments.overload import CONTROLLED, PLAIN, Overload
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, line, samples
from tests.lab.experiments.judging import judged

KEEPS = {
    0.5: {"goodput": 50.0, "p99_ms": 15.0},
    1.5: {"goodput": 98.0, "p99_ms": 120.0},
    3.0: {"goodput": 95.0, "p99_ms": 40.0},
}
LOSES = line("goodput", {0.5: 50.0, 1.5: 20.0, 3.0: 10.0})
TYPICAL = {CONTROLLED: KEEPS, PLAIN: LOSES}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(Overload(), found)


def test_typical_figures_hold() -> None:
    outcome, sentence = judge(samples(TYPICAL, rounds=(1.0,)))
    assert outcome is Outcome.HOLDS
    assert sentence == (
        "At 3 times its capacity a server with admission control answers 95 % of its capacity in time, and "
        "one without 10 %. What the first accepts takes 40 ms at the 99th percentile."
    )
    assert judge(samples(TYPICAL))[0] is Outcome.HOLDS


def test_it_is_within_a_limit_if_some_goodput_is_lost_or_kept() -> None:
    some = line("goodput", {0.5: 50.0, 3.0: 60.0})
    assert judge(samples({CONTROLLED: some, PLAIN: LOSES}))[0] is Outcome.WITHIN_A_LIMIT
    assert judge(samples({CONTROLLED: KEEPS, PLAIN: some}))[0] is Outcome.WITHIN_A_LIMIT


def test_it_is_not_seen_if_both_are_alike() -> None:
    assert judge(samples({CONTROLLED: KEEPS, PLAIN: KEEPS}))[0] is Outcome.NOT_SEEN
    assert judge(samples({CONTROLLED: LOSES, PLAIN: LOSES}))[0] is Outcome.NOT_SEEN


def test_noise_or_spread_above_the_difference_hides_it() -> None:
    some = line("goodput", {3.0: 60.0})
    alike = {CONTROLLED: line("goodput", {3.0: 85.0}), PLAIN: some}
    assert judge(samples(alike))[0] is Outcome.WITHIN_A_LIMIT
    assert judge(samples(alike, twin=(CONTROLLED, 3.0, {"goodput": 60.0})))[0] is Outcome.NOT_SEEN
    assert judge(samples(alike, rounds=WIDE))[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize(
    "curves",
    [{}, {CONTROLLED: KEEPS}, {PLAIN: LOSES}, {CONTROLLED: line("goodput", {1.5: 98.0}), PLAIN: LOSES}],
)
def test_too_little_is_not_judged(curves: Mapping[str, Mapping[float, Mapping[str, float]]]) -> None:
    assert judge(samples(curves))[0] is Outcome.NOT_MEASURED
