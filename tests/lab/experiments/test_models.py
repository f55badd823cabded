"""What is said of the four models: which cells are measured, and each verdict from figures of each shape."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from halfsync.lab.errors import MeasureError
from halfsync.lab.experiment import Outcome
from halfsync.lab.experiments import models
from halfsync.lab.experiments.models import Models
from halfsync.lab.laboratory import MODELS, Wanted
from halfsync.lab.load import Load
from halfsync.lab.samples import Samples
from tests.lab.experiments.invented import samples
from tests.lab.experiments.judging import judged
from tests.lab.test_sizes import WIDE as LIMITS

EXPERIMENT = Models()
PLACES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)


def rates(**of_arms: tuple[float, ...]) -> Samples:
    """Return samples with these rates at the places; CPU is what such a rate leaves of a processor."""
    curves = {
        arm: {place: {"rate": rate, "cpu_us": 1e6 / rate} for place, rate in zip(PLACES, found, strict=False)}
        for arm, found in of_arms.items()
    }
    return samples(curves, twin=("proactor", 100.0, {"cpu_us": 1e6 / 19_600}))


def test_equal_models_do_not_show_it() -> None:
    found = rates(thread=(8e3, 16e3, 20e3, 19e3), proactor=(6e3, 18e3, 20e3, 24e3))
    outcome, sentence = judged(EXPERIMENT, found)
    assert outcome is Outcome.NOT_SEEN
    assert sentence == (
        "At 1 to 1,000 clients the proactor answers 0.75 to 1.26 times as many requests per second as a thread per "
        "connection; most at 1,000 clients: 1.26 (1.21 to 1.31) times, with 41.7 µs (40.8 to 42.5) of CPU per request "
        "against 52.6 µs (51.6 to 53.7); the noise floor is 4 %."
    )


def test_ten_times_everywhere_holds() -> None:
    outcome, sentence = judged(EXPERIMENT, rates(thread=(1e3, 2e3), proactor=(1e4, 2e4)))
    assert outcome is Outcome.HOLDS
    assert "from 1 clients on" not in sentence


def test_ten_times_for_many_clients_holds_within_a_limit() -> None:
    found = rates(thread=(8e3, 16e3, 10e3, 2e3, 1e3), proactor=(6e3, 18e3, 20e3, 20e3, 20e3))
    outcome, sentence = judged(EXPERIMENT, found)
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert "about an order of magnitude, at 1,000 and 10,000 clients" in sentence


def test_what_noise_or_spread_leave_in_doubt_does_not_count() -> None:
    curves = {
        "thread": {100.0: {"rate": 5e3, "cpu_us": 200.0}},
        "proactor": {100.0: {"rate": 50e3, "cpu_us": 50.0}},
    }
    assert judged(EXPERIMENT, samples(curves))[0] is Outcome.HOLDS
    noisy = samples(curves, twin=("proactor", 100.0, {"rate": 30e3, "cpu_us": 50.0}))
    assert judged(EXPERIMENT, noisy)[0] is Outcome.NOT_SEEN
    assert judged(EXPERIMENT, samples(curves, rounds=(0.1, 1.0, 1.9)))[0] is Outcome.NOT_SEEN


def test_slower_is_said_too() -> None:
    """As for an application that waits, which more threads than the proactor has serve better."""
    outcome, sentence = judged(EXPERIMENT, rates(thread=(50.0, 500.0, 5e3), proactor=(50.0, 200.0, 200.0)))
    assert outcome is Outcome.NOT_SEEN
    assert "0.04 to 1 times as many" in sentence


@pytest.mark.parametrize(
    "arms", [{}, {"thread": (1.0,)}, {"proactor": (1.0,)}, {"pool": (1.0,), "process": (1.0,)}]
)
def test_without_both_models_nothing_is_said(arms: Any) -> None:
    outcome, sentence = judged(EXPERIMENT, rates(**arms))
    assert outcome is Outcome.NOT_MEASURED
    assert "thread and proactor" in sentence


def test_models_that_were_measured_at_other_places_only_cannot_be_compared() -> None:
    curves = {"thread": {10.0: {"rate": 1e3}}, "proactor": {100.0: {"rate": 2e4}}}
    assert judged(EXPERIMENT, samples(curves))[0] is Outcome.NOT_MEASURED


class FakeServer:
    port = 1


class FakeLaboratory:
    """A laboratory whose servers answer 2,000 requests per second, whatever they are."""

    def __init__(self, wanted: Wanted, answered: int = 2000, **limits: Any) -> None:
        self.wanted = wanted
        self.application = wanted.application
        self.machine = type("Machine", (), {"limits": replace(LIMITS, **limits)})
        self.flags: list[tuple[str, ...]] = []
        self.loads: list[Load] = []
        self.answered = answered

    @contextmanager
    def serving(self, *flags: str, target: str) -> Iterator[FakeServer]:
        self.flags.append((*flags, target))
        yield FakeServer()

    def load(self, load: Load) -> Any:
        self.loads.append(load)
        found = {
            "answered": self.answered,
            "rate": float(self.answered),
            "refused": 0,
            "errors": 7,
            "failed": {},
        }
        return type("Outcome", (), {**found, "unsent": 0})


def plan(laboratory: FakeLaboratory) -> Any:
    return EXPERIMENT.plan(cast("Any", laboratory))


def test_by_default_each_model_has_each_number_of_clients_but_processes() -> None:
    found = plan(FakeLaboratory(Wanted()))
    places = {arm: [cell.place for cell in found.cells if cell.arm == arm] for arm in MODELS}
    assert places["thread"] == places["pool"] == places["proactor"] == list(models.CLIENTS)
    assert places["process"] == [1, 10, 100, models.PROCESSES_MOST]
    assert found.notes == (
        "process: 300 clients instead of 10,000, because of the time; ask for more by --clients",
    )
    assert (found.reference.arm, found.reference.place) == ("proactor", 100)


def test_the_command_line_decides_over_models_and_clients() -> None:
    found = plan(FakeLaboratory(Wanted(models=("process", "pool"), clients=(5, 2000))))
    assert [(cell.arm, cell.place) for cell in found.cells] == [
        ("process", 5), ("process", 2000), ("pool", 5), ("pool", 2000),
    ]  # fmt: skip
    assert found.reference.arm == "process"
    assert found.notes == ()


def test_limits_of_the_machine_are_kept_and_noted() -> None:
    found = plan(FakeLaboratory(Wanted(clients=(10, 5000)), descriptors_hard=1064))
    assert {cell.place for cell in found.cells} == {10, 1000}
    assert len(found.notes) == 4
    assert "thread: 1,000 clients instead of 5,000, because of descriptors and ports" in found.notes


def test_the_fixed_rate_is_a_part_of_what_the_reference_can_do_with_the_fewest_clients() -> None:
    laboratory = FakeLaboratory(Wanted(application="shop:app", path="/cart", clients=(3, 30)))
    assert plan(laboratory).found == {"rate": 600.0}
    assert laboratory.flags == [
        ("--model", "proactor", "--queue-size", "2048", "--no-overload-control", "shop:app")
    ]
    assert laboratory.loads[0].connections == 3
    assert laboratory.loads[0].paths == (("/cart", 1.0),)


def test_an_application_that_answers_nothing_but_errors_cannot_be_compared() -> None:
    laboratory = FakeLaboratory(Wanted(path="/gone"), answered=0)
    with pytest.raises(MeasureError, match="/gone is not answered: errors 7"):
        plan(laboratory)
