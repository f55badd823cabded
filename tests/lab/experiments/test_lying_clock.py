"""The verdict on generators that hide a stall follows from the figures."""

from collections.abc import Mapping

import pytest

from halfsync.lab.experiment import Outcome
from halfsync.lab.experiments.lying_clock import CLOSED, OPEN, LyingClock, expected_p99_s
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, line, samples
from tests.lab.experiments.judging import judged

HIDES = line("p99_ms", {0.0: 3.0, 0.7: 3.0, 1.4: 3.0})
SEES = {
    0.0: {"p99_ms": 3.0, "expected_ms": 0.0},
    0.7: {"p99_ms": 660.0, "expected_ms": 660.0},
    1.4: {"p99_ms": 1350.0, "expected_ms": 1360.0},
}
TYPICAL = {CLOSED: HIDES, OPEN: SEES}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(LyingClock(), found)


def test_typical_figures_hold() -> None:
    outcome, sentence = judge(samples(TYPICAL, rounds=(1.0,)))
    assert outcome is Outcome.HOLDS
    assert sentence == (
        "Of a stall of 1.4 s, the closed loop reports a 99th percentile of 3 ms, the open loop one of 1,350 "
        "ms, where arithmetic says 1,360 ms: 450 times as much."
    )
    assert judge(samples(TYPICAL))[0] is Outcome.HOLDS


def test_it_is_within_a_limit_if_the_closed_loop_sees_some_or_the_open_loop_is_wrong() -> None:
    some = line("p99_ms", {1.4: 300.0})
    assert judge(samples({CLOSED: some, OPEN: SEES}))[0] is Outcome.WITHIN_A_LIMIT
    wrong = {1.4: {"p99_ms": 800.0, "expected_ms": 1360.0}}
    assert judge(samples({CLOSED: HIDES, OPEN: wrong}))[0] is Outcome.WITHIN_A_LIMIT


def test_it_is_not_seen_if_both_report_the_same() -> None:
    assert judge(samples({CLOSED: line("p99_ms", {1.4: 1300.0}), OPEN: SEES}))[0] is Outcome.NOT_SEEN
    nothing = {1.4: {"p99_ms": 3.0, "expected_ms": 1360.0}}
    assert judge(samples({CLOSED: HIDES, OPEN: nothing}))[0] is Outcome.NOT_SEEN


def test_noise_or_spread_above_the_difference_hides_it() -> None:
    curves = {CLOSED: line("p99_ms", {1.4: 600.0}), OPEN: SEES}
    assert judge(samples(curves))[0] is Outcome.WITHIN_A_LIMIT
    assert judge(samples(curves, twin=(OPEN, 1.4, {"p99_ms": 1000.0})))[0] is Outcome.NOT_SEEN
    assert judge(samples(curves, rounds=WIDE))[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize(
    "curves", [{}, TYPICAL | {CLOSED: line("p99_ms", {0.35: 3.0})}, {OPEN: SEES}, {CLOSED: HIDES}]
)
def test_too_little_is_not_judged(curves: Mapping[str, Mapping[float, Mapping[str, float]]]) -> None:
    assert judge(samples(curves))[0] is Outcome.NOT_MEASURED


def test_what_arithmetic_says() -> None:
    assert expected_p99_s(1.4, 30.0) == pytest.approx(1.1)
    assert expected_p99_s(1.4, 4.0) == pytest.approx(1.36)
    assert expected_p99_s(0.01, 4.0) == 0.0
