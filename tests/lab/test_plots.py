"""Plots: what is drawn, and that a page can hold it."""

import re
from itertools import pairwise

import pytest

from halfsync.lab import plots
from halfsync.lab.experiment import Axis, Plot
from halfsync.lab.plots import described, series_of
from halfsync.lab.samples import Sample, Samples
from tests.lab.pages import Page

PLOT = Plot("CPU of a request", "cpu_us", "CPU per request", "µs")
CLIENTS = Axis("clients", log=True)
MODELS = ("process", "thread", "pool", "proactor")
TEXT = re.compile(r"<text ([^>]*)>([^<]*)</text>")


def figures(*arms: str, places: tuple[float, ...] = (1, 10, 100, 1000, 10_000), rounds: int = 3) -> Samples:
    return Samples(
        tuple(
            Sample(
                arm,
                place,
                turn,
                {"cpu_us": 10.0 + at + turn + place / 500, "p50_ms": 0.5 + at, "p99_ms": 7.0 + at},
            )
            for turn in range(rounds)
            for at, arm in enumerate(arms)
            for place in places
        )
    )


def draw(plot: Plot, axis: Axis, samples: Samples, name: str) -> str:
    return plots.draw(plot, axis, series_of(plot, samples), name)


def texts(svg: str) -> list[str]:
    return [match[2] for match in TEXT.finditer(svg)]


def test_a_page_can_hold_several() -> None:
    two = [draw(PLOT, CLIENTS, figures(*MODELS), name) for name in ("a-0", "a-1")]
    page = Page("".join(two))
    assert page.faults == []
    assert page.tags.count("svg") == 2
    assert page.tags.count("style") == page.tags.count("metadata") == page.tags.count("script") == 0
    assert not any("://" in svg for svg in two)


def test_each_axis_has_its_unit_and_each_arm_its_name() -> None:
    words = texts(draw(PLOT, Axis("memory of the parent", "MB", log=True), figures(*MODELS), "p"))
    assert {"CPU per request (µs)", "memory of the parent (MB)", *MODELS} <= set(words)


def test_colours_are_the_variables_of_the_page() -> None:
    svg = draw(PLOT, CLIENTS, figures(*MODELS), "p")
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert {f"var(--look-{at})" for at in range(4)} <= set(re.findall(r"var\([^)]*\)", svg))
    assert "var(--ink)" in svg
    assert "font-family" not in svg


def test_the_picture_says_in_words_what_it_shows() -> None:
    svg = draw(PLOT, CLIENTS, figures("pool"), "p")
    assert 'aria-label="CPU of a request: pool 11 µs at 1, 31 µs at 10,000"' in svg
    assert described(series_of(PLOT, figures("pool", places=(5.0,))), "µs") == "pool 11 µs at 5"


def test_one_place_makes_bars_with_their_figures() -> None:
    words = texts(draw(PLOT, CLIENTS, figures(*MODELS, places=(100.0,)), "p"))
    assert {*MODELS, "11.2", "14.2", "CPU per request (µs)"} <= set(words)


def test_several_metrics_of_an_arm_are_lines_with_names_of_their_own() -> None:
    plot = Plot("Latency", "p50_ms", "latency", "ms", log=True, lines=(("p50_ms", "p50"), ("p99_ms", "p99")))
    both = series_of(plot, figures("pool", "proactor"))
    assert [(each.name, each.look) for each in both] == [
        ("pool p50", 2), ("pool p99", 2), ("proactor p50", 3), ("proactor p99", 3),
    ]  # fmt: skip
    alone = series_of(plot, figures("pool"))
    assert len({each.look for each in alone}) == 2
    svg = draw(plot, CLIENTS, figures("pool", "proactor"), "p")
    markers = set(re.findall(r'style="(fill[^"]*stroke: var\(--look-3\))', svg))
    assert any(marker.startswith("fill: none") for marker in markers), "the second line has hollow markers"
    assert any(marker.startswith("fill: var(--look-3)") for marker in markers)


def test_arms_that_a_plot_does_not_show_take_no_looks() -> None:
    """So that six arms differ, though the experiment also has the four models, in other plots."""
    plot = Plot("Turns", "turn_us", "turn", "µs")
    turns = tuple(Sample(f"arm {number}", 1.0, 0, {"turn_us": 1.0}) for number in range(6))
    shown = series_of(plot, Samples((*figures(*MODELS), *turns)))
    assert sorted(each.look for each in shown) == list(range(6))


def test_nothing_measured_is_nothing_drawn() -> None:
    assert series_of(PLOT, Samples()) == []
    assert series_of(Plot("Other", "other", "other", ""), figures("pool")) == []


def test_arms_come_in_the_order_that_is_given() -> None:
    samples = figures("proactor", "pool", "thread")
    assert [each.name for each in series_of(PLOT, samples, MODELS)] == ["thread", "pool", "proactor"]


def test_a_scale_of_powers_leaves_out_what_is_nothing() -> None:
    samples = Samples(tuple(Sample("pool", place, 0, {"m": place}) for place in (0.0, 1.0, 10.0, 100.0)))
    svg = draw(Plot("Any", "m", "any", "s", log=True), Axis("clients"), samples, "p")
    assert {"1", "10", "100"} <= set(texts(svg))
    assert "nan" not in svg


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "places",
    [
        (0, 1, 10, 100, 1000),
        (0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0),
        tuple(2.0**power for power in range(10)),
        (9_000, 10_000),
        tuple(float(place) for place in range(1, 40)),
    ],
)
def test_no_labels_of_the_axis_of_places_overlap(places: tuple[float, ...], log: bool) -> None:
    svg = draw(PLOT, Axis("slow clients", log=log), figures("pool", "proactor", places=places), "p")
    labels = []
    for style, text in TEXT.findall(svg):
        if "text-anchor: middle" in style and re.fullmatch(r"[\d.,]+", text):
            x = float(re.search(r' x="([\d.]+)"', f" {style}")[1])  # type: ignore[index]
            y = float(re.search(r' y="([\d.]+)"', f" {style}")[1])  # type: ignore[index]
            labels.append((x, y, text))
    assert len({y for _, y, _ in labels}) == 1
    assert len(labels) >= 2
    for (x, _, text), (next_x, _, next_text) in pairwise(sorted(labels)):
        assert next_x - x > 5.2 * (len(text) + len(next_text)) / 2


@pytest.mark.parametrize("values", [(0.0, 0.0), (0.0, 5.0), (3.1, 3.2), (1e-5, 1e6), (-2.0, 4.0)])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("places", [(1.0,), (1.0, 10.0)])
def test_any_figures_can_be_drawn(values: tuple[float, float], log: bool, places: tuple[float, ...]) -> None:
    samples = Samples(
        tuple(
            Sample(arm, place, turn, {"m": values[(at + turn) % 2]})
            for turn in range(2)
            for at, arm in enumerate(("a", "b"))
            for place in places
        )
    )
    svg = draw(Plot("Any", "m", "any", "s", log=log), CLIENTS, samples, "p")
    assert Page(svg).faults == []
    assert len([text for text in texts(svg) if re.fullmatch(r"[\d.,e-]+", text)]) >= 2
    assert "nan" not in svg


def test_arms_that_begin_like_markup_stay_words() -> None:
    page = Page(draw(PLOT, CLIENTS, figures("<script>", "a & b"), "p"))
    assert page.faults == []
    assert "script" not in page.tags
    assert "<script>" in page.text
