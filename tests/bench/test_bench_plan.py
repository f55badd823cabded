"""The order of a run, its selection, and its command line."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from bench.__main__ import arguments, save, with_capacity
from bench.cells import Cell, Results
from bench.goodput import LOADS, Goodput, Level
from bench.load import LoadError
from bench.measure import Bench
from bench.plan import Plan, rotated
from bench.report import Run
from bench.servers import ARMS, Arm, Kit
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
    skipped = [(cell.workload, cell.server, cell.skipped) for cell in plan.skipped()]
    assert skipped == [("post", "nginx", "it runs no application"), ("file", "floor", "it serves no file")]


def test_what_a_row_skips_is_a_workload_and_has_a_reason() -> None:
    for arm in ARMS:
        assert set(arm.skips) <= set(names(WORKLOADS)), arm.name
        assert all(arm.skips.values()), arm.name


def test_the_rows_of_a_connection_for_each_request() -> None:
    (close,) = selected(WORKLOADS, "close", "name")
    models = ["halfsync-process", "halfsync-thread", "halfsync-pool"]
    others = ["floor", "forking-mixin", "gunicorn", "threading-mixin"]
    assert sorted(arm.name for arm in ARMS if arm.takes(close)) == sorted(
        ["halfsync", "halfsync-again", *models, *others]
    )


@pytest.mark.parametrize(("only", "minutes"), [("", 65), ("goodput", 15)])
def test_a_run_with_the_defaults_is_bounded(only: str, minutes: int) -> None:
    args = arguments(["--only", only])
    assert Plan(args.workloads, args.arms, args.rounds, args.seconds).estimate_s() < minutes * 60


def test_the_servers_that_are_overloaded_and_their_one_round() -> None:
    plan = Plan(selected(WORKLOADS, "goodput", "name"), ARMS, 5, 3)
    rows = {"granian", "gunicorn", "halfsync", "halfsync-pool", "peregrine", "waitress"}
    peers = {f"{row}-default" for row in rows if not row.startswith("halfsync")}
    for workload in plan.workloads:
        steps = [step for step in plan.steps() if step.workload is workload]
        assert sorted(step.arm.name for step in steps) == sorted(
            rows | peers if workload.name == "goodput-sleep-kept" else rows
        )
        assert {step.number for step in steps} == {0}


@pytest.mark.parametrize(("only", "known"), [("goodput-burn", 431.0), ("goodput-sleep,post", None)])
def test_the_capacity_of_the_processor_is_measured_if_a_workload_depends_on_it(
    only: str, known: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bench, "burn_capacity", lambda bench, arm, workload: 431.0)
    bench = Bench(Kit("python", (), Path("peers"), Path("build")), 0, 0, 3, 1000)
    workloads = selected(WORKLOADS, only, "name")
    assert with_capacity(bench, workloads, {}).burn_per_s == known
    assert with_capacity(bench, workloads, {"halfsync": "did not start"}) is bench


def test_without_that_capacity_the_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(bench: Bench, arm: Arm, workload: Workload) -> float:
        raise LoadError("wrk printed no counts")

    monkeypatch.setattr(Bench, "burn_capacity", fails)
    bench = Bench(Kit("python", (), Path("peers"), Path("build")), 0, 0, 3, 1000)
    assert with_capacity(bench, selected(WORKLOADS, "goodput-burn", "name"), {}) is bench


@pytest.mark.parametrize("goodput", [True, False])
def test_a_run_is_saved_with_its_picture_if_there_is_one(
    goodput: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.__main__.RESULTS", tmp_path / "results")
    monkeypatch.setattr("bench.__main__.ROOT", tmp_path)
    levels = tuple(Level(load, 9, load * 200, 0.0, 0.0, 0, 90.0, 90.0) for load in LOADS)
    found = Goodput(200.0, levels, 0.0, 1.5, 0.4) if goodput else None
    cell = Cell("granian", "goodput-sleep-kept", 0, goodput=found)
    save(Run("2026-01-02 03:04", {}, {}, {}, {}), Results([cell]), "the report")
    suffixes = {path.suffix for path in (tmp_path / "results").glob("2026-01-02T0304.*")}
    assert suffixes == ({".md", ".json", ".svg"} if goodput else {".md", ".json"})


@pytest.mark.parametrize("peer", ["granian", "gunicorn", "peregrine", "waitress"])
def test_a_peer_has_a_short_queue_under_overload_and_no_limit_elsewhere(peer: str) -> None:
    kit = Kit("python", (), Path("peers"), Path("build"))
    (arm,) = (arm for arm in ARMS if arm.name == peer)
    (climb,) = selected(WORKLOADS, "goodput-sleep-kept", "name")
    short, without = (" ".join(arm.command(kit, 8000, workload)) for workload in (climb, WORKLOADS[0]))
    assert re.search(r"(connections|connection-limit|backpressure)[ =]40\b", short)
    assert re.search(r"(connections|connection-limit|backpressure)[ =]20000\b", without)
    (as_it_is,) = (arm for arm in ARMS if arm.name == f"{peer}-default")
    assert not re.search(
        r"limit=|connections|backpressure|backlog", " ".join(as_it_is.command(kit, 8000, climb))
    )
    assert "8000" in " ".join(as_it_is.command(kit, 8000, climb))


@pytest.mark.parametrize(
    ("row", "options"),
    [
        ("halfsync", []),
        ("halfsync-process", ["--model", "process", "--max-children", "1100"]),
        ("halfsync-thread", ["--model", "thread"]),
        ("halfsync-pool", ["--model", "pool", "--queue-size", "20000"]),
    ],
)
def test_a_models_own_options_come_after_those_of_the_run(row: str, options: list[str]) -> None:
    kit = Kit("python", ("--model", "proactor"), Path("peers"), Path("build"))
    (arm,) = (arm for arm in ARMS if arm.name == row)
    assert arm.command(kit, 8000, WORKLOADS[0])[-2 - len(options) :] == ["--model", "proactor", *options]


def test_the_floor_closes_if_the_workload_does() -> None:
    kit = Kit("python", (), Path("peers"), Path("build"))
    (floor,) = selected(ARMS, "floor", "name")
    replies = {workload.name: kit.reply(workload).name for workload in WORKLOADS if floor.takes(workload)}
    assert replies["hello-1"] == replies["hello-64"] == "reply-hello.bin"
    assert replies["close"] == "reply-hello-close.bin"
    assert len(set(replies.values())) == 4


def test_selection_is_by_name_or_family_in_the_tables_order() -> None:
    assert names(selected(WORKLOADS, "post, hello", "name")) == ["hello-1", "hello-64", "hello-1000", "post"]
    assert names(selected(ARMS, "halfsync", "name")) == [
        "halfsync",
        "halfsync-process",
        "halfsync-thread",
        "halfsync-again",
        "halfsync-pool",
    ]
    assert names(selected(ARMS, "halfsync-pool", "name")) == ["halfsync-pool"]
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
