"""A load's cost is that of its server, for each answer, with what ended on the way."""

import time

import pytest

from halfsync.lab import machine
from halfsync.lab.errors import MeasureError
from halfsync.lab.laboratory import Laboratory, Wanted
from halfsync.lab.load import Load
from halfsync.lab.loaded import ANY_PORT, loaded


@pytest.fixture
def laboratory() -> Laboratory:
    return Laboratory(machine.read(), Wanted(), time.monotonic() + 600)


def test_the_cpu_of_an_answer_is_what_the_application_uses(laboratory: Laboratory) -> None:
    found = loaded(laboratory, Load(ANY_PORT, 2, 0.5, paths=(("/burn/5", 1.0),)))
    assert 5000 <= found.cpu_us < 10_000
    assert found.outcome.answered > 5


@pytest.mark.parametrize(("model", "least", "most"), [("process", 500.0, 1e6), ("thread", 5.0, 1e5)])
def test_what_ended_on_the_way_counts(model: str, least: float, most: float, laboratory: Laboratory) -> None:
    """Each connection has a child or a thread of its own, which ends, and waits at least for the end of its client."""
    found = loaded(laboratory, Load(ANY_PORT, 4, 0.4, fresh=True), "--model", model)
    assert least < found.cpu_us < most
    assert 0.5 < found.switches < 20


def test_the_switches_are_those_of_each_answer(laboratory: Laboratory) -> None:
    """An application that waits gives the processor up."""
    waits = loaded(laboratory, Load(ANY_PORT, 1, 0.4, paths=(("/sleep/5", 1.0),)), "--model", "thread")
    assert 1.5 < waits.switches < 10


def test_the_environment_reaches_the_application(laboratory: Laboratory) -> None:
    """Beside a busy thread an answer costs more, since all of the process counts."""
    load = Load(ANY_PORT, 1, 0.4)
    alone = loaded(laboratory, load)
    beside = loaded(laboratory, load, environment={"LAB_BURNERS": "1"})
    assert beside.cpu_us > 3 * alone.cpu_us


def test_no_answer_is_an_error(laboratory: Laboratory) -> None:
    with pytest.raises(MeasureError, match="no request was answered"):
        loaded(laboratory, Load(ANY_PORT, 1, 0.2, paths=(("/other", 1.0),)))
