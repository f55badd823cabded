"""What the terminal shows: lines in a pipe, a live view in a terminal, and how much time is left."""

import io
from dataclasses import replace
from typing import Any, cast

import pytest
from rich.console import Console
from rich.live import Live

from halfsync.lab.experiment import Outcome, Verdict
from halfsync.lab.progress import Lines, Pace, Screen, shown
from halfsync.lab.running import Step, round_of
from halfsync.lab.samples import Sample
from tests.lab.fakes import Clock, Invented
from tests.lab.test_results import a_record

PLAN = Invented().plan(cast("Any", None))
STEPS = [step for number in range(PLAN.rounds) for step in round_of(PLAN, number)]
SAMPLE = Sample("pool", 10.0, 1, {"cpu_us": 12.345, "p50_ms": 1.5, "p99_ms": 20.0, "undrawn": 3.0})
RECORD = replace(a_record(), verdict=Verdict(Outcome.WITHIN_A_LIMIT, "It holds up to 100 clients."))


def told(progress: Any, step: Step) -> None:
    progress.begins(Invented(), PLAN, 1000.0)
    progress.measures(step)
    progress.sampled(SAMPLE)


def test_lines_have_the_claim_each_sample_with_units_and_the_verdict() -> None:
    written = io.StringIO()
    lines = Lines(written.write)
    told(lines, STEPS[7])
    lines.sampled(replace(SAMPLE, metrics={}, note="pool at 10: no descriptors left", twin=True))
    lines.ends(RECORD)
    assert written.getvalue().splitlines() == [
        "invented: the pool is dearer & slower",
        "  note: only 100 descriptors",
        "  8/21 round 2: pool, 10 clients: CPU per request 12.3 µs, p50 1.5 ms, p99 20 ms",
        "  8/21 round 2: pool, 10 clients (again): pool at 10: no descriptors left",
        "invented: holds within a limit: It holds up to 100 clients.",
    ]


def test_a_stream_that_is_no_terminal_gets_lines() -> None:
    stream = io.StringIO()
    with shown(stream) as progress:
        told(progress, STEPS[0])
    assert "1/21 round 2: pool, 10 clients" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def screen_of(clock: Clock) -> tuple[Screen, Console, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, highlight=False, color_system=None)
    return Screen(console, Live(console=console), clock), console, stream


def seen(screen: Screen) -> str:
    stream = io.StringIO()
    Console(file=stream, width=100, color_system=None).print(screen)
    return stream.getvalue()


def test_the_view_has_what_is_measured_the_time_left_and_the_latest_figures() -> None:
    clock = Clock()
    screen, _, stream = screen_of(clock)
    screen.begins(Invented(), PLAN, 1000.0)
    clock.now = 70.0
    screen.measures(STEPS[7])
    screen.sampled(SAMPLE)
    view = seen(screen)
    cell = STEPS[7].cell
    assert f"8 of 21, round 2: {cell.arm}, {cell.place:g} clients, about 2 min 20 s left" in view
    assert "pool, 10 clients" in view
    assert "CPU per request 12.3 µs, p50 1.5 ms, p99 20 ms" in view
    assert "the pool is dearer & slower" in stream.getvalue()
    assert "only 100 descriptors" in stream.getvalue()


def test_the_verdict_stays_above_the_view() -> None:
    screen, _, stream = screen_of(Clock())
    told(screen, STEPS[0])
    screen.ends(RECORD)
    assert "holds within a limit: It holds up to 100 clients." in stream.getvalue()
    assert "preparing" in seen(screen)


def test_a_view_before_anything_is_measured_says_so() -> None:
    screen, _, _ = screen_of(Clock())
    assert "preparing" in seen(screen)
    screen.begins(Invented(), PLAN, 1000.0)
    assert "preparing" in seen(screen)
    screen.measures(STEPS[0])
    assert "left" not in seen(screen)


@pytest.mark.parametrize(
    ("step", "now", "deadline", "left_s"),
    [
        (0, 5.0, 1000.0, None),  # nothing is known yet
        (7, 70.0, 1000.0, 140.0),  # ten seconds a step, and 14 steps from here on
        (7, 70.0, 90.0, 70.0),  # past the deadline only the round that runs goes on
        (9, 90.0, 190.0, 100.0),  # what would not end in time is left out
        (20, 200.0, 1000.0, 10.0),
    ],
)
def test_the_time_left(step: int, now: float, deadline: float, left_s: float | None) -> None:
    assert Pace(0.0, deadline, STEPS[step]).left_s(now) == left_s
