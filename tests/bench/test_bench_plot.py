"""The picture of answers in time against the load."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from bench.cells import Cell, Results
from bench.goodput import LOADS, Goodput, Level
from bench.workloads import WORKLOADS

from bench import plot

SVG = "{http://www.w3.org/2000/svg}"
SERVERS = ("halfsync", "halfsync-pool", "gunicorn", "waitress", "granian", "peregrine")


def climbed(server: str, workload: str, most: float) -> Cell:
    levels = tuple(Level(load, 400, min(load, most) * 480, 0.0, 0.0, 0, 90.0, 90.0) for load in LOADS)
    return Cell(server, workload, 0, goodput=Goodput(480.0, levels, 0.0, 2.5, 0.4))


def drawn(*found: Cell) -> ElementTree.Element:
    return ElementTree.fromstring(plot.draw(WORKLOADS, Results(found)))


def lines(picture: ElementTree.Element) -> list[list[tuple[float, float]]]:
    texts = (
        line.get("points", "") for line in picture.iter(SVG + "polyline") if "line" in line.get("class", "")
    )
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())] for text in texts]


def words(picture: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in picture.iter(SVG + "text")]


def test_nothing_is_drawn_without_goodput() -> None:
    failed = Cell("halfsync", "goodput-sleep-kept", 0, failure="did not start")
    assert plot.draw(WORKLOADS, Results([failed, Cell("floor", "post", 0)])) == ""


def test_a_line_goes_up_with_the_load_and_is_as_high_as_the_answers_in_time() -> None:
    (line,) = lines(drawn(climbed("granian", "goodput-burn-kept", 0.5)))
    assert len(line) == len(LOADS)
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(set(xs))
    assert len(set(ys)) == 1
    (higher,) = lines(drawn(climbed("granian", "goodput-burn-kept", 1.0)))
    assert higher[0] == line[0]
    assert higher[-1][1] < line[-1][1]  # downwards is positive


def test_each_workload_has_a_panel_and_each_server_its_name_in_each() -> None:
    workloads = ("goodput-sleep-kept", "goodput-sleep-retry", "goodput-mix-new")
    picture = drawn(*(climbed(server, workload, 0.1) for server in SERVERS for workload in workloads))
    texts = words(picture)
    assert [text for text in texts if text in ("sleep-kept", "sleep-new", "sleep-retry", "mix-new")] == [
        "sleep-kept",
        "sleep-retry",
        "mix-new",
    ]
    assert all(texts.count(server) == len(workloads) for server in SERVERS)
    assert len(lines(picture)) == len(workloads) * len(SERVERS)


def test_the_names_of_lines_that_end_together_stand_apart() -> None:
    picture = drawn(*(climbed(server, "goodput-sleep-new", 0.0) for server in SERVERS))
    heights = sorted(float(text.get("y", "")) for text in picture.iter(SVG + "text") if text.text in SERVERS)
    assert all(below - above >= plot.LINE for above, below in pairwise(heights))


@pytest.mark.parametrize(
    ("wanted", "heights"),
    [
        ([10.0, 50.0], [10.0, 50.0]),
        ([50.0, 10.0, 50.0], [50.0, 10.0, 64.0]),
        ([100.0, 100.0, 100.0], [72.0, 86.0, 100.0]),
        ([], []),
    ],
)
def test_labels_stay_near_their_lines_in_order(wanted: list[float], heights: list[float]) -> None:
    assert plot.spread(wanted, 0.0, 100.0) == heights


def test_all_that_has_a_colour_has_one_for_the_dark_too() -> None:
    picture = drawn(*(climbed(server, "goodput-sleep-new", 1.0) for server in SERVERS))
    light, dark = (picture.findtext(SVG + "style") or "").split("@media (prefers-color-scheme: dark)")
    used = {name for element in picture.iter() for name in element.get("class", "").split()}
    assert {f"s{number}" for number in range(len(SERVERS))} <= used
    coloured = set(re.findall(r"\.(\w+)[^{}]*{[^}]*#", light)) & used
    assert {"frame", "grid", "small", "s0", "s5"} <= coloured
    assert coloured <= set(re.findall(r"\.(\w+)[^{}]*{[^}]*#", dark))
    assert len(set(plot.COLOURS)) >= len(SERVERS)


def test_default_settings_have_the_same_colour_and_another_line() -> None:
    workload = "goodput-sleep-kept"
    picture = drawn(climbed("granian", workload, 1.0), climbed("granian-default", workload, 0.1))
    limited, as_it_is = (
        (line.get("class") or "").split()
        for line in picture.iter(SVG + "polyline")
        if "line" in line.get("class", "")
    )
    assert as_it_is == [limited[0], "as-it-is", "line"]


def test_a_server_has_one_colour_whoever_is_beside_it() -> None:
    alone = drawn(climbed("granian", "goodput-mix-new", 1.0))
    among = drawn(*(climbed(server, "goodput-mix-new", 1.0) for server in SERVERS))
    (own,) = (line.get("class") for line in alone.iter(SVG + "polyline") if "line" in line.get("class", ""))
    assert own in [line.get("class") for line in among.iter(SVG + "polyline")]
