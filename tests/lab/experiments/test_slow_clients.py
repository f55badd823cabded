"""The verdict on slow clients follows from the figures."""

from collections.abc import Mapping

import pytest

from halfsync.lab.experiment import Outcome
from halfsync.lab.experiments.slow_clients import SlowClients
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, flat, line, samples, without
from tests.lab.experiments.judging import judged

PLACES = (0.0, 10.0, 100.0, 1000.0)
UNHURT = flat("goodput", 99.5, PLACES)
STOPPED = line("goodput", {0.0: 100.0, 10.0: 3.0, 100.0: 0.0, 1000.0: 0.0})
TYPICAL = {"process": UNHURT, "thread": UNHURT, "pool": STOPPED, "proactor": UNHURT}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(SlowClients(), found)


def test_typical_figures_hold() -> None:
    outcome, sentence = judge(samples(without(TYPICAL, "process", "thread"), rounds=(1.0,)))
    assert outcome is Outcome.HOLDS
    assert sentence == (
        "Of the healthy clients' requests, pool answers 3 % in time beside 10 slow clients and 0 % beside 1,000 and "
        "proactor answers 100 % in time beside 10 slow clients and 100 % beside 1,000."
    )
    assert judge(samples(TYPICAL))[0] is Outcome.HOLDS


def test_it_is_within_a_limit_if_the_pool_loses_less_or_the_proactor_some() -> None:
    slowed = line("goodput", {0.0: 100.0, 10.0: 90.0, 1000.0: 70.0})
    assert judge(samples({**TYPICAL, "pool": slowed}))[0] is Outcome.WITHIN_A_LIMIT
    hurt = flat("goodput", 80.0, PLACES)
    assert judge(samples({**TYPICAL, "proactor": hurt}))[0] is Outcome.WITHIN_A_LIMIT


def test_it_is_not_seen_if_both_are_alike() -> None:
    assert judge(samples({**TYPICAL, "pool": UNHURT}))[0] is Outcome.NOT_SEEN
    assert judge(samples({**TYPICAL, "proactor": STOPPED}))[0] is Outcome.NOT_SEEN


def test_spreads_that_overlap_hide_it() -> None:
    slowed = flat("goodput", 70.0, PLACES)
    assert judge(samples({**TYPICAL, "pool": slowed}, rounds=WIDE))[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {"pool": STOPPED},
        {"proactor": UNHURT},
        {"pool": line("goodput", {0.0: 100.0}), "proactor": UNHURT},
    ],
)
def test_too_little_is_not_judged(curves: Mapping[str, Mapping[float, Mapping[str, float]]]) -> None:
    assert judge(samples(curves))[0] is Outcome.NOT_MEASURED
