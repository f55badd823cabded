"""Children are reaped as an arm says, and whatever happens, none is left; the verdict follows from the figures."""

import os
import subprocess

import pytest

from halfsync.lab.errors import MeasureError
from halfsync.lab.experiment import Cell, Outcome, Plan
from halfsync.lab.experiments import zombies
from halfsync.lab.experiments.zombies import LOOPED, NEVER, ONCE, REAPING, Zombies, adopting_orphans, forked
from halfsync.lab.forking import REAP_ALL, REAP_IGNORE, REAP_NONE, REAP_ONE, Order
from halfsync.lab.laboratory import Laboratory
from halfsync.lab.samples import Samples
from tests.lab.children import assert_no_children, await_children, start_server
from tests.lab.experiments.invented import samples, without
from tests.lab.experiments.judging import judged

EXACT = (1.0, 1.0, 1.0)


def left(zombies: float, *, started: float = 500, refused: float = 0, limited: float = 1) -> dict[str, float]:
    found = {"zombies": zombies, "started": started, "refused": refused, "limited": limited}
    return {**found, "first_refused": started} if refused else found


TYPICAL = {
    NEVER: {100.0: left(100, started=100), 1000.0: left(500, refused=500)},
    ONCE: {100.0: left(95, started=100), 1000.0: left(500, started=526, refused=474)},
    LOOPED: {100.0: left(0, started=100), 1000.0: left(0, started=1000)},
}


def judge(found: Samples) -> tuple[Outcome, str]:
    return judged(Zombies(), found)


def test_typical_figures_show_the_claim() -> None:
    outcome, sentence = judge(samples(TYPICAL, rounds=EXACT))
    assert outcome is Outcome.HOLDS
    assert "500 without reaping, 500 if each signal reaps one and 0 if reaped in a loop" in sentence
    assert "no child could be started after 500: 500 were refused" in sentence


def test_it_is_within_a_limit_if_nothing_was_refused() -> None:
    short = {NEVER: {100.0: left(100, started=100)}, LOOPED: {100.0: left(0, started=100)}}
    outcome, sentence = judge(samples(short, rounds=EXACT))
    assert outcome is Outcome.WITHIN_A_LIMIT
    assert "No limit of the system was reached." in sentence


def test_a_refusal_by_the_server_itself_does_not_count() -> None:
    own = {
        NEVER: {1000.0: left(500, refused=500, limited=0)},
        LOOPED: {1000.0: left(0, started=1000, limited=0)},
    }
    assert judge(samples(own, rounds=EXACT))[0] is Outcome.WITHIN_A_LIMIT


@pytest.mark.parametrize(("never", "looped"), [(0, 0), (500, 400), (100, 0)])
def test_it_is_not_seen_if_both_leave_as_much_or_little_stays(never: int, looped: int) -> None:
    both = {NEVER: {1000.0: left(never)}, LOOPED: {1000.0: left(looped)}}
    assert judge(samples(both, rounds=EXACT))[0] is Outcome.NOT_SEEN


def test_one_round_that_differs_makes_it_not_seen() -> None:
    """What a count says in one round it must say in each."""
    assert judge(samples(TYPICAL, rounds=(1.0, 1.0, 0.0)))[0] is Outcome.NOT_SEEN


@pytest.mark.parametrize("missing", [(NEVER,), (LOOPED,), tuple(TYPICAL)])
def test_without_both_nothing_is_said(missing: tuple[str, ...]) -> None:
    assert judge(samples(without(TYPICAL, *missing)))[0] is Outcome.NOT_MEASURED


@pytest.mark.parametrize(
    ("reap", "burst", "expected"),
    [(REAP_NONE, 5, 40), (REAP_ONE, 1, 0), (REAP_ONE, 5, 32), (REAP_ALL, 5, 0), (REAP_IGNORE, 5, 0)],
)
def test_each_way_to_reap_leaves_what_it_must(reap: str, burst: int, expected: int) -> None:
    found = forked(Order(reap, 40, burst, 60))
    assert (found["started"], found["refused"], found["zombies"]) == (40, 0, expected)
    assert_no_children()


def test_the_limit_refuses_further_children() -> None:
    found = forked(Order(REAP_NONE, 50, 10, 30))
    assert found["started"] + found["refused"] == 50
    # Other processes of the user may come and go if this one is not root, whose server is a user of its own.
    near = 0 if os.geteuid() == 0 else 15
    assert abs(found["started"] - 30) <= near
    assert abs(found["first_refused"] - 30) <= near
    assert found["zombies"] == found["started"]
    assert_no_children()


def test_what_a_killed_server_leaves_is_reaped() -> None:
    """Its zombies go to the lab, which reaps them."""
    with adopting_orphans():
        server = start_server(Order(REAP_NONE, 10_000_000, 10, 200))
        await_children(server.pid)
        server.kill()
        zombies._end(server)
        assert_no_children()


def test_an_interrupt_of_the_lab_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    servers: list[subprocess.Popen[str]] = []

    def interrupted(self: subprocess.Popen[str], timeout: float | None = None) -> tuple[str, str]:
        servers.append(self)
        await_children(self.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        forked(Order(REAP_NONE, 10_000_000, 10, 200))
    assert servers[0].returncode is not None
    assert_no_children()


def test_a_server_that_fails_is_an_error() -> None:
    with pytest.raises(MeasureError, match="failed"):
        forked(Order("unknown", "many", 1, 1))  # type: ignore[arg-type]


def test_its_plan_has_a_room_that_the_machine_has(laboratory: Laboratory) -> None:
    plan = Zombies().plan(laboratory)
    room = plan.found["room"]
    assert 20 <= room <= 500
    assert {cell.place for cell in plan.cells} == {room * 0.2, room * 0.5, room, room * 2}
    assert plan.reference in plan.cells
    assert any("RLIMIT_NPROC" in note for note in plan.notes)


@pytest.mark.parametrize("arm", list(REAPING))
def test_a_cell_is_measured(arm: str, laboratory: Laboratory) -> None:
    plan = Plan((), Cell(arm, 40.0), "zombies", found={"room": 30.0})
    measured = Zombies().measure(Cell(arm, 40.0), plan, laboratory)
    assert measured.metrics["started"] + measured.metrics["refused"] == 40
    assert measured.metrics["zombies"] <= 40
    assert measured.note == "" or not measured.metrics["limited"]
