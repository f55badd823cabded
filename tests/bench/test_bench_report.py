"""The report's tables, and its section on the bars."""

import json

import pytest
from bench.cells import Cell, Idle, Results
from bench.goodput import LOADS, Goodput, Level
from bench.load import Load
from bench.proc import Cpu, Memory
from bench.workloads import WORKLOADS

from bench import bars, models, report

RUN = report.Run(
    "2026-01-02 03:04", {"processor": "a"}, {"wrk": "4"}, {"floor": "floor 1 2"}, {"rounds": "2"}
)


def loaded(server: str, workload: str, cpu_us: float, number: int = 0, bad_status: int = 0) -> Cell:
    load = Load(1_000_000, 2.0, 10**9, 300, 900, bad_status=bad_status, socket_errors=0)
    return Cell(
        server, workload, number, load=load, cpu=Cpu(cpu_us, cpu_us), memory=Memory(10_000, 9_000, 8_000)
    )


def climbed(
    server: str,
    workload: str = "goodput-sleep-kept",
    *,
    in_time: float = 1.0,
    refused: float = 0.0,
    p99_ms: float = 90.0,
    recovery_s: float | None = 0.25,
    failed: int = 0,
) -> Cell:
    """A server that answers this share of the capacity in time from there on, and below it what comes."""
    levels = tuple(
        Level(load, 400, min(load, in_time) * 200, refused, 0.0, failed, p99_ms, p99_ms) for load in LOADS
    )
    return Cell(server, workload, 0, goodput=Goodput(200.0, levels, recovery_s, 2.5, 0.4))


def verdicts(results: Results) -> dict[str, tuple[str, str]]:
    return {row[0].split(":")[0]: (row[1], row[2]) for row in bars.table(results)}


def test_the_cheapest_row_comes_first_and_the_failed_one_last() -> None:
    results = Results(
        [
            Cell("halfsync", "hello-64", 0, failure="did not start: exit 3"),
            loaded("granian", "hello-64", 12.0, bad_status=4),
            loaded("floor", "hello-64", 5.0),
            loaded("floor", "hello-64", 7.0, number=1),
        ]
    )
    text = report.render(RUN, WORKLOADS, results)
    rows = [line for line in text.splitlines() if line.startswith(("| floor", "| granian", "| halfsync"))]
    assert [row.split()[1] for row in rows] == ["floor", "granian", "halfsync"]
    assert "6.00 [5.00-7.00]" in rows[0]
    assert "granian (!)" in rows[1]
    assert "2.00" in rows[1]  # x floor
    assert "4 answers not 2xx" in rows[1]
    assert "did not start: exit 3" in rows[2]


def test_a_workload_that_was_not_measured_has_no_section() -> None:
    text = report.render(RUN, WORKLOADS, Results([loaded("floor", "post", 5.0)]))
    assert "## post: " in text
    assert "## hello-64: " not in text


def test_bars_without_figures_say_so() -> None:
    assert {row[2] for row in bars.table(Results([]))} == {"-"}


def test_bars_compare_medians_of_both_halfsync_rows() -> None:
    cells = [loaded("halfsync", "hello-64", 6.0), loaded("halfsync-again", "hello-64", 8.0)]
    cells += [loaded("fastwsgi", "hello-64", 7.0), loaded("floor", "hello-64", 4.0)]
    rows = bars.table(Results(cells))
    assert (rows[0][1], rows[0][2]) == ("1.00 x (7 against 7 µs)", "cleared")
    assert rows[1][2] == "missed"


def test_errors_of_halfsync_are_said_beside_the_bars() -> None:
    good, bad = loaded("halfsync", "hello-64", 6.0), loaded("halfsync-again", "post", 6.0, bad_status=1)
    assert bars.reservations(Results([good])) == ""
    assert "errors in post:" in report.render(RUN, WORKLOADS, Results([good, bad]))


def test_the_post_bar_names_the_nearest_peer_and_no_floor() -> None:
    cells = [loaded("halfsync", "post", 20.0), loaded("floor", "post", 10.0)]
    cells += [loaded("fastwsgi", "post", 25.0), loaded("granian", "post", 40.0)]
    text, verdict = verdicts(Results(cells))["64 KiB POST"]
    assert "0.80 x" in text
    assert "fastwsgi" in text
    assert verdict == "cleared"


def test_idle_connections_must_be_held_in_every_round() -> None:
    def idle(number: int, held: int, worst_ms: float) -> Cell:
        record = Idle(15_000, 15_000, held, held * 500, 0.3, worst_ms, "")
        return Cell("halfsync", "idle", number, idle=record)

    name = "15,000 idle connections held, and a new request answered in less than 10 ms"
    assert verdicts(Results([idle(0, 15_000, 2.0), idle(1, 15_000, 3.0)]))[name][1] == "cleared"
    assert verdicts(Results([idle(0, 15_000, 2.0), idle(1, 14_999, 3.0)]))[name][1] == "missed"
    assert verdicts(Results([idle(0, 15_000, 2.0), idle(1, 15_000, 12.0)]))[name][1] == "missed"


def test_the_bars_of_the_proactor_do_not_include_the_other_models() -> None:
    cells = [loaded("halfsync", "hello-64", 6.0), loaded("floor", "hello-64", 6.0)]
    cells += [loaded(row, "hello-64", 600.0) for row in ("halfsync-process", "halfsync-thread")]
    assert bars.table(Results(cells))[1][1:] == ["1.00 x (6 against 6 µs)", "cleared"]
    assert bars.OURS == ("halfsync", "halfsync-again")


@pytest.mark.parametrize("model", ["thread", "pool"])
@pytest.mark.parametrize(("cpu_us", "verdict"), [(25.0, "cleared"), (26.0, "missed")])
def test_a_thread_for_a_connection_costs_a_quarter_of_gunicorn(
    model: str, cpu_us: float, verdict: str
) -> None:
    cells = [loaded(f"halfsync-{model}", "hello-64", cpu_us), loaded("gunicorn", "hello-64", 100.0)]
    assert verdicts(Results(cells))[f"{model}, hello-64"][1] == verdict


@pytest.mark.parametrize(("theirs", "verdict"), [(500_000, "cleared"), (500_001, "missed")])
def test_the_bar_of_the_processes_counts_connections(theirs: int, verdict: str) -> None:
    other = Cell("forking-mixin", "close", 0, load=Load(theirs, 1.0, 10**9, 300, 900, 0, 0))
    found = verdicts(Results([loaded("halfsync-process", "close", 5.0), other]))["process, close"]
    assert found[1] == verdict
    assert "1.00 x" in found[0]


def test_errors_of_another_model_are_said_with_its_name() -> None:
    good, bad = (
        loaded("halfsync", "post", 6.0),
        loaded("halfsync-pool", "post", 6.0, bad_status=1),
    )
    assert bars.reservations(Results([good, bad])) == (
        "halfsync-pool had failures or errors in post: see the notes there."
    )


def test_rows_that_skip_a_workload_are_said_under_its_table() -> None:
    skipped = [
        Cell("waitress", "close", 0, skipped="left out"),
        Cell("nginx", "close", 0, skipped="left out"),
        Cell("nginx", "post", 0, skipped="no application"),
    ]
    text = report.render(RUN, WORKLOADS, Results([loaded("floor", "close", 5.0), *skipped]))
    assert "Not in this table: waitress, nginx (left out)." in text
    assert "| nginx" not in text
    assert "## post: " not in text  # nothing was measured there
    assert bars.reservations(Results([Cell("halfsync-pool", "file", 0, skipped="left out")])) == ""


def test_the_models_stand_side_by_side() -> None:
    herd = Idle(40, 40, 11, 40 * 1_200, 0.3, 2.0, "")
    results = Results(
        [
            loaded("halfsync", "close", 70.0),
            loaded("halfsync-again", "close", 80.0),
            loaded("halfsync-process", "close", 3_000.0),
            Cell("halfsync-pool", "idle", 0, idle=herd),
        ]
    )
    assert models.table(results) == [
        ["close: CPU µs/request", "3000.0", "-", "-", "75.0"],
        ["close: connections/s", "500,000", "-", "-", "500,000"],
        ["idle: bytes/connection", "-", "-", "1,200", "-"],
        ["idle: connections open then", "-", "-", "40", "-"],
    ]
    assert "## The models compared" in report.render(RUN, WORKLOADS, results)
    assert "side by side" not in report.render(RUN, WORKLOADS, Results([loaded("floor", "post", 5.0)]))


def test_the_json_holds_the_run_and_every_cell() -> None:
    data = json.loads(report.to_json(RUN, Results([loaded("floor", "post", 5.0)])))
    assert data["run"]["settings"] == {"rounds": "2"}
    assert data["cells"][0]["cpu"] == {"clock_s": 5.0, "ticks_s": 5.0}


def test_a_table_is_padded_with_figures_to_the_right() -> None:
    lines = report.markdown_table(
        ["server", "µs", "notes"], [["a", "10.00", ""], ["bcd", "9.00", "x"]]
    ).splitlines()
    assert lines == [
        "| server |    µs | notes |",
        "| ------ | ----: | ----- |",
        "| a      | 10.00 |       |",
        "| bcd    |  9.00 | x     |",
    ]


def test_a_table_without_remarks_has_figures_to_the_right_edge() -> None:
    lines = report.markdown_table(["halfsync", "pool"], [["a", "1.0"]], remarks=False).splitlines()
    assert lines == ["| halfsync | pool |", "| -------- | ---: |", "| a        |  1.0 |"]


def test_goodput_has_a_table_for_each_figure_the_best_server_first() -> None:
    results = Results(
        [
            climbed("waitress", in_time=0.0, recovery_s=None, p99_ms=1000, failed=2),
            climbed("halfsync", refused=0.5),
            Cell("granian", "goodput-sleep-kept", 0, failure="the load generator was late"),
        ]
    )
    text = report.render(RUN, WORKLOADS, results)
    section = text.split("## goodput-sleep-kept: ")[1].split("## ")[0]
    assert "The capacity is 200 requests per second, by the threads' time." in section
    first, refused, accepted, every = (
        [line for line in part.splitlines() if line.startswith("| ")] for part in section.split(":\n\n")[1:]
    )
    assert first[0].split(" | ")[1:] == ["0.5 x", "0.9 x", "1 x", "1.5 x", "2 x", "3 x", "recovery s |"]
    assert [line.replace("|", " ").split() for line in first[2:]] == [
        ["halfsync", "100", "180", "200", "200", "200", "200", "0.25"],
        ["waitress", "0", "0", "0", "0", "0", "0", ">", "2.5"],
    ]
    assert refused[2].count("50.0%") == 6
    assert accepted[3].count("1,000") == every[3].count("1,000") == 6
    assert "- waitress: 12 requests failed" in section
    assert "- granian: the load generator was late" in section
    assert f"![Answers in time against the load]({RUN.stem}.svg)" in text
    assert RUN.stem == "2026-01-02T0304"
    assert "- Open loop: p99 of how late a request was sent: 0.4 ms, 0.4 ms at most." in text


def test_the_capacity_of_the_processor_is_said_to_be_measured() -> None:
    text = report.render(RUN, WORKLOADS, Results([climbed("halfsync", "goodput-burn-kept")]))
    assert "The capacity is 200 requests per second, by a closed loop on halfsync." in text


GOODPUT_BARS = (
    "goodput: at least 95 % of the capacity in time from 1 x on",
    "goodput: at most 1 % refused at 0.9 x",
    "goodput: p99 of what is accepted at most 250 ms, if turns are alike",
    "goodput: recovery within 1 s after the load falls",
)


@pytest.mark.parametrize(
    ("bar", "good", "bad"),
    [
        (0, {"in_time": 0.95}, {"in_time": 0.949}),
        (1, {"refused": 0.01}, {"refused": 0.011}),
        (2, {"p99_ms": 250.0}, {"p99_ms": 251.0}),
        (3, {"recovery_s": 1.0}, {"recovery_s": 1.05}),
        (3, {"recovery_s": 0.0}, {"recovery_s": None}),
    ],
)
@pytest.mark.parametrize(("row", "prefix"), [("halfsync", ""), ("halfsync-pool", "pool, ")])
def test_every_goodput_workload_must_clear_a_bar(
    row: str, prefix: str, bar: int, good: dict[str, float], bad: dict[str, float]
) -> None:
    def verdict(results: Results) -> list[str]:
        return next(line[1:] for line in bars.table(results) if line[0] == prefix + GOODPUT_BARS[bar])

    cleared = [climbed(row, "goodput-sleep-kept", **good), climbed(row, "goodput-burn-new", **good)]  # type: ignore[arg-type]
    assert verdict(Results([climbed("granian", **bad)])) == ["not measured", "-"]  # type: ignore[arg-type]
    assert verdict(Results(cleared))[1] == "cleared"
    text, outcome = verdict(Results([*cleared, climbed(row, "goodput-sleep-new", **bad)]))  # type: ignore[arg-type]
    assert outcome == "missed"
    assert "goodput-sleep-new" in text


def test_the_latency_of_a_mix_is_said_and_not_judged() -> None:
    results = Results([climbed("halfsync"), climbed("halfsync", "goodput-mix-new", p99_ms=760.0)])
    rows = {row[0]: row[1:] for row in bars.table(results)}
    assert rows[GOODPUT_BARS[2]] == ["90 in goodput-sleep-kept at 0.5 x (ms; mix 760)", "cleared"]


def test_a_bar_names_the_other_workloads_that_miss_it() -> None:
    rows = ("goodput-sleep-kept", "goodput-sleep-new", "goodput-mix-new")
    shares = dict(zip(rows, (0.9, 0.5, 0.96), strict=True))
    results = Results([climbed("halfsync", name, in_time=share) for name, share in shares.items()])
    assert {row[0]: row[1] for row in bars.table(results)}[GOODPUT_BARS[0]] == (
        "50.0% in goodput-sleep-new at 1 x; missed in goodput-sleep-kept too"
    )
