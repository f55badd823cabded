"""The verdict on a process for each client follows from the figures."""

from collections.abc import Mapping

import pytest

from halfsync.lab.experiment import Outcome
from halfsync.lab.experiments.clients import Clients
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import WIDE, samples
from tests.lab.experiments.judging import judged

PLACES = (10.0, 100.0, 1000.0, 10_000.0)
Curve = dict[float, Mapping[str, float]]


def curve(
    memory_kb: float, setup_us: float, *, places: tuple[float, ...] = PLACES, last_open: float = 1.0
) -> Curve:
    found: Curve = {
        place: {"open": 1.0, "memory_kb": memory_kb, "setup_us": setup_us, "p99_ms": 1.0} for place in places
    }
    found[places[-1]] = {**found[places[-1]], "open": last_open}
    return found


PROCESS, PROACTOR = curve(900.0, 3000.0), curve(6.0, 70.0)


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(Clients(), found)


def exact(curves: Mapping[str, Curve]) -> Samples:
    return samples(curves, rounds=(1.0,))


def test_it_holds_if_many_processes_take_gigabytes() -> None:
    outcome, sentence = judge(exact({"process": PROCESS, "proactor": PROACTOR}))
    assert outcome is Outcome.HOLDS
    assert sentence == (
        "100 processes take 90 MB. At 10,000 clients a process takes 900 KB for each, 150 times what the proactor "
        "takes, and 42.9 times as long to set up."
    )


def test_it_holds_if_many_processes_cannot_be_started() -> None:
    outcome, sentence = judge(exact({"process": curve(20.0, 500.0, last_open=0.4), "proactor": PROACTOR}))
    assert outcome is Outcome.HOLDS
    assert sentence.endswith("Of 10,000 processes only 4,000 could be started.")


def test_what_ten_thousand_take_is_told_from_fewer() -> None:
    few = PLACES[:3]
    outcome, sentence = judge(
        exact({"process": curve(900.0, 3000.0, places=few), "proactor": curve(6.0, 70.0, places=few)})
    )
    assert outcome is Outcome.HOLDS
    assert "10,000 would take 9 GB." in sentence


def test_it_is_within_a_limit_if_processes_are_light() -> None:
    assert judge(exact({"process": curve(90.0, 300.0), "proactor": PROACTOR}))[0] is Outcome.WITHIN_A_LIMIT
    assert judge(exact({"process": PROCESS, "proactor": curve(150.0, 70.0)}))[0] is Outcome.WITHIN_A_LIMIT


def test_it_is_not_seen_if_all_models_take_the_same() -> None:
    assert judge(exact({"process": PROACTOR, "proactor": PROACTOR}))[0] is Outcome.NOT_SEEN


def test_it_is_not_seen_if_a_few_processes_are_too_many() -> None:
    process = {**PROCESS, 100.0: {**PROCESS[100.0], "open": 0.5}}
    assert judge(exact({"process": process, "proactor": PROACTOR}))[0] is Outcome.NOT_SEEN


def test_spreads_that_overlap_hide_it() -> None:
    near = {"process": curve(20.0, 300.0), "proactor": PROACTOR}
    assert judge(samples(near))[0] is Outcome.WITHIN_A_LIMIT
    assert judge(samples({**near, "proactor": curve(15.0, 70.0)}, rounds=WIDE))[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {"process": PROCESS},
        {"proactor": PROACTOR},
        {"process": curve(900.0, 3000.0, places=(10.0, 100.0)), "proactor": PROACTOR},
        {"process": curve(900.0, 3000.0, places=(1000.0, 10_000.0)), "proactor": PROACTOR},
        {"process": {100.0: {"open": 1.0}, 1000.0: {"open": 1.0}}, "proactor": PROACTOR},
    ],
)
def test_too_little_is_not_judged(curves: Mapping[str, Curve]) -> None:
    assert judge(exact(curves))[0] is Outcome.NOT_MEASURED
