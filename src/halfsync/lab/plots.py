"""Plots as SVG for a page: what an experiment's arms did over the places, drawn by matplotlib.

A picture takes its colours from the variables of the page's style sheet (`palette`), so that it is right in light and
in dark. It is drawn in placeholders, which are replaced in the text of the SVG. Its words are text, in the page's font.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from halfsync.lab.experiment import Axis, Plot
from halfsync.lab.judging import number
from halfsync.lab.palette import LOOKS, slots
from halfsync.lab.samples import Figure, Samples
from halfsync.lab.wording import labelled

WIDTH_IN, HEIGHT_IN = 4.4, 3.0
BAR_IN, BARS_BESIDE_IN = 0.36, 0.95
"""The height of a bar with its distance to the next, and what title and axis take besides."""
NUMBER_ROOM = 0.16
"""The share of a bar's axis that the number behind the longest one takes."""
MARK_PT = 7
FONT_PT = 9.0
LEGEND_CHARACTERS, MARKER_CHARACTERS = 52, 7
"""About how many characters of a legend fit beside each other, and how many a marker takes."""
PLACES_LABELLED = 9
"""Up to so many places have labels of their own, on an axis that is not logarithmic."""
TICK_CHARACTERS = 44
"""About how many characters fit under the axis."""

NARROW = 200.0
"""A scale of powers has more labels than those of ten if the highest figure is less than so many times the lowest."""

FILLS = ("full", "none", "left")
"""Of the markers of an arm's lines, if it has several."""

INK, SOFT, GRID, PANEL = "#0a0c00", "#0a0c01", "#0a0c02", "#0a0c03"
_VARIABLES = {INK: "var(--ink)", SOFT: "var(--soft)", GRID: "var(--line)", PANEL: "var(--panel)"} | {
    f"#0a0b{look:02x}": f"var(--look-{look})" for look in range(len(LOOKS))
}

SETTINGS: Any = {  # names that matplotlib knows
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": FONT_PT,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": FONT_PT,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.columnspacing": 1.2,
    "lines.linewidth": 1.7,
    "lines.markersize": 5,
}


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a plot: its name in the legend, which look it has, and its figures by place."""

    name: str
    look: int
    curve: tuple[tuple[float, Figure], ...]


def series_of(plot: Plot, samples: Samples, order: Iterable[str] = ()) -> list[Series]:
    """Return the lines of a plot that have figures: one for each arm, or several if the plot has several metrics.

    order: in which the arms come, if it is not that in which they were measured.
    """
    lines = plot.lines or ((plot.metric, ""),)
    known = list(dict.fromkeys((*order, *samples.arms())))
    arms = [arm for arm in known if any(samples.curve(arm, metric) for metric, _ in lines)]
    # An arm looks the same in all plots, unless there are too many for that.
    looks = slots(known if len(known) <= len(LOOKS) else arms)
    found = []
    for arm in arms:
        for at, (metric, added) in enumerate(lines):
            curve = tuple(samples.curve(arm, metric))
            look = looks[arm] if len(arms) > 1 or len(lines) == 1 else at % len(LOOKS)
            if curve:
                found.append(Series(f"{arm} {added}".rstrip(), look, curve))
    return found


def draw(plot: Plot, axis: Axis, series: Sequence[Series], name: str) -> str:
    """Return a plot as an `svg` element.

    name: what no other picture in the page is called, made of letters, digits and hyphens.
    """
    places = sorted({place for each in series for place, _ in each.curve})
    with mpl.rc_context(SETTINGS | {"svg.hashsalt": name}):
        canvas = _bars(plot, series) if len(places) == 1 else _lines(plot, axis, series, places)
        written = io.StringIO()
        canvas.savefig(written, format="svg")
    return for_page(written.getvalue(), name, f"{plot.title}: {described(series, plot.unit)}")


def described(series: Iterable[Series], unit: str) -> str:
    """Return what a picture shows, in words, for those who cannot see it."""
    parts = []
    for each in series:
        (first, low), (last, high) = each.curve[0], each.curve[-1]
        text = f"{each.name} {number(low.mid)} {unit} at {number(first)}".replace("  ", " ")
        parts.append(text if first == last else f"{text}, {number(high.mid)} {unit} at {number(last)}")
    return "; ".join(parts)


def _lines(plot: Plot, axis: Axis, series: Sequence[Series], places: Sequence[float]) -> Canvas:
    """Draw a line for each series, with its spread as a band."""
    legend_rows = math.ceil(len(series) / _columns(series))
    canvas = Canvas(figsize=(WIDTH_IN, HEIGHT_IN + 0.2 * legend_rows), layout="constrained")
    axes = canvas.add_subplot()
    seen: list[int] = []
    for each in series:
        look, colour = LOOKS[each.look], _colour(each.look)
        curve = [(place, figure) for place, figure in each.curve if figure.low > 0 or not plot.log]
        x = [place for place, _ in curve]
        low, high = [figure.low for _, figure in curve], [figure.high for _, figure in curve]
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            x,
            [figure.mid for _, figure in curve],
            color=colour,
            marker=look.marker,
            # Several lines of one arm differ by their markers: full, hollow, and so on.
            fillstyle=FILLS[seen.count(each.look) % len(FILLS)],
            markerfacecoloralt=PANEL,
            linestyle=(0, look.dashes) if look.dashes else "-",
            label=each.name,
            clip_on=False,  # so that a marker on the axis is seen whole
        )
        seen.append(each.look)
    axes.set_title(labelled(plot.label, plot.unit))
    axes.set_xlabel(labelled(axis.label, axis.unit))
    _scale_places(axes, axis, places)
    _scale_values(axes.yaxis, series, log=plot.log)
    if len(series) > 1:
        canvas.legend(loc="outside lower left", ncols=_columns(series))
    return canvas


def _bars(plot: Plot, series: Sequence[Series]) -> Canvas:
    """Draw a bar for each series, with its figure beside it and its spread as a line over the end.

    On a scale of powers, which has no 0 for a bar to begin at, draw its marker alone.
    """
    canvas = Canvas(figsize=(WIDTH_IN, BAR_IN * len(series) + BARS_BESIDE_IN), layout="constrained")
    axes = canvas.add_subplot()
    powers = plot.log and all(each.curve[0][1].low > 0 for each in series)
    for row, each in enumerate(series):
        figure, colour = each.curve[0][1], _colour(each.look)
        if powers:
            axes.plot(
                figure.mid, row, color=colour, marker=LOOKS[each.look].marker, markersize=MARK_PT, zorder=3
            )
        else:
            axes.barh(row, figure.mid, color=colour, height=0.62)
        axes.errorbar(
            figure.mid, row, xerr=[[figure.mid - figure.low], [figure.high - figure.mid]],
            color=INK, capsize=3, elinewidth=1, linestyle="none",
        )  # fmt: skip
        axes.annotate(
            number(figure.mid), (max(figure.high, figure.mid), row), xytext=(7, 0),
            textcoords="offset points", va="center",
        )  # fmt: skip
    axes.set_yticks(range(len(series)), [each.name for each in series])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.margins(y=0.12)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(labelled(plot.label, plot.unit))
    _scale_values(axes.xaxis, series, log=powers)
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** NUMBER_ROOM if powers else high * (1 + NUMBER_ROOM))
    return canvas


def _colour(look: int) -> str:
    return f"#0a0b{look:02x}"


def _columns(series: Sequence[Series]) -> int:
    """Return how many columns the legend has: as many as fit, or as fill as many rows."""
    longest = max(len(each.name) for each in series) + MARKER_CHARACTERS
    rows = math.ceil(len(series) / max(1, LEGEND_CHARACTERS // longest))
    return math.ceil(len(series) / rows)


def _scale_places(axes: Any, axis: Axis, places: Sequence[float]) -> None:
    """Scale the axis of the places, and label those that were measured, if they are few."""
    positive = [place for place in places if place > 0]
    log = axis.log and bool(positive)
    if log and positive == list(places):
        axes.set_xscale("log")
    elif log:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.4)
    if log or len(places) <= PLACES_LABELLED:
        axes.xaxis.set_major_locator(FixedLocator(_apart(places, log=log)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def _apart(places: Sequence[float], *, log: bool) -> list[float]:
    """Return those places whose labels fit beside each other; the last among them."""
    least = min((place for place in places if place > 0), default=1.0)
    position = {place: place for place in places}
    if log:
        position = {place: math.log(place) if place > 0 else math.log(least) - 1 for place in places}
    whole = position[places[-1]] - position[places[0]]
    kept: list[float] = []
    for place in reversed(places):
        needed = (len(number(place)) + 2) / TICK_CHARACTERS * whole
        if not kept or position[kept[-1]] - position[place] >= needed:
            kept.append(place)
    return sorted(kept)


def _scale_values(axis: Any, series: Sequence[Series], *, log: bool) -> None:
    """Scale the axis of the figures: from 0, or by powers (log), which leave out what is 0."""
    figures = [figure for each in series for _, figure in each.curve]
    powers = [figure for figure in figures if figure.low > 0] if log else []
    low, high = (
        min(figure.low for figure in powers or figures),
        max(figure.high for figure in powers or figures),
    )
    name = axis.axis_name
    scale = getattr(axis.axes, f"set_{name}scale")
    limit = getattr(axis.axes, f"set_{name}lim")
    if powers:
        scale("log")
        limit(low / 1.3, high * 1.3)
        narrow = high / low < NARROW
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=12))
    elif low >= 0:
        limit(0, high * 1.08 or 1)
        axis.set_major_locator(MaxNLocator(6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


_ID = re.compile(r' id="([^"]*)"')
_USE = re.compile(r'(?:xlink:href="#|url\(#)([^")]*)')


def for_page(svg: str, name: str, description: str) -> str:
    """Return a file of matplotlib's as an element of a page: no colours, sizes, names or addresses of its own."""
    svg = svg[svg.index("<svg") :]
    # Its style sheet would be one for the whole page, which has this rule for pictures itself.
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*|<style.*?</style>\s*", "", svg, flags=re.DOTALL)
    used = set(_USE.findall(svg))
    svg = _ID.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = _without_fonts(svg, _VARIABLES)
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None, "matplotlib's files have one"
    label = escape(description, quote=True)
    head = f'<svg class="plot" viewBox="{box[1]}" role="img" aria-label="{label}">'
    return head + svg[svg.index(">") + 1 :].strip()


def _without_fonts(svg: str, colours: Mapping[str, str]) -> str:
    """Return the picture with the page's colours, and with its texts in the page's font at their own size."""
    for placeholder, variable in colours.items():
        svg = svg.replace(placeholder, variable)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    return re.sub(r"font-family: [^;\"]*;? ?", "", svg)
