"""The order of a run, its selection, and its command line."""

from collections.abc import Sequence

import pytest
from bench.__main__ import arguments
from bench.plan import Plan, rotated
from bench.servers import ARMS, Arm
from bench.workloads import WORKLOADS, Workload, selected


def names(items: Sequence[Arm | Workload]) -> list[str]:
    return [item.name for item in items]


def test_every_round_starts_with_another_server_and_runs_each_once() -> None:
    orders = [rotated(ARMS, number) for number in range(len(ARMS))]
    assert {order[0].name for order in orders} == {arm.name for arm in ARMS}
    assert all(sorted(names(order)) == sorted(names(ARMS)) for order in orders)
    assert rotated([], 3) == []


def test_a_plan_goes_round_by_round_and_skips_what_a_row_cannot_do() -> None:
    plan = Plan(selected(WORKLOADS, "post,file", "name"), selected(ARMS, "floor,nginx", "name"), 2, 1)
    steps = [(step.workload.name, step.number, step.arm.name) for step in plan.steps()]
    assert steps == [("post", 0, "floor"), ("post", 1, "floor"), ("file", 0, "nginx"), ("file", 1, "nginx")]
    assert plan.estimate_s() > 4


def test_selection_is_by_name_or_family_in_the_tables_order() -> None:
    assert names(selected(WORKLOADS, "post, hello", "name")) == ["hello-1", "hello-64", "hello-1000", "post"]
    assert names(selected(ARMS, "halfsync", "name")) == ["halfsync", "halfsync-again"]
    assert selected(ARMS, "", "name") == ARMS
    with pytest.raises(ValueError, match="'helo'"):
        selected(WORKLOADS, "helo", "name")


def test_an_unknown_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        arguments(["--servers", "apache"])
    assert "there are halfsync," in capsys.readouterr().err


def test_the_defaults_are_five_rounds_of_three_seconds() -> None:
    args = arguments([])
    assert (args.rounds, args.seconds) == (5, 3)
    assert args.arms == ARMS
