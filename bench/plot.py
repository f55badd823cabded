"""Draw answers in time against the load: a panel for each goodput workload, a line for each server, as SVG.

A row of panels is an application, its columns are the kinds of clients. The picture is self-contained, with colours
for light and dark. Every line has its server's name at its end, so that no reader depends on the colours. It is
drawn here, as the diagrams of the documentation are, since a library's SVG has one set of colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape

from bench import cells
from bench.cells import Results, ratio
from bench.curves import IN_TIME
from bench.goodput import LOADS
from bench.servers import ARMS
from bench.workloads import Kind, Workload

PLOT_WIDTH, PLOT_HEIGHT = 210, 150
LABELS_WIDTH = 116
PANEL_WIDTH, PANEL_HEIGHT = PLOT_WIDTH + LABELS_WIDTH + 46, PLOT_HEIGHT + 82
MARGIN, TOP = 20, 62
HIGHEST = 1.1
"""The upper end of the vertical axis, in capacities."""
LINE = 14
"""From one label to the next, at least."""
COLOURS = (
    ("#2a78d6", "#5a9ff0"),
    ("#4a3aa7", "#a79bf2"),
    ("#c2410c", "#f0894c"),
    ("#0f766e", "#3fb8a9"),
    ("#a16207", "#d6a23a"),
    ("#be185d", "#f27bb0"),
)
"""For light and for dark, in the order of the servers; after the last, the first again."""

DEFAULT = "-default"
"""How the rows end that have a server's default settings; their lines are dashed."""

STYLE = """
  text { font: 12px system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; fill: #1f2933; }
  .title { font-size: 17px; font-weight: 600; }
  .name { font-weight: 600; }
  .small { font-size: 11px; fill: #52606d; }
  .middle { text-anchor: middle; }
  .end { text-anchor: end; }
  .frame { fill: #ffffff; stroke: #9aa5b1; }
  .grid { stroke: #dde3e9; }
  .most { fill: none; stroke: #7b8794; stroke-dasharray: 3 4; }
  .line { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
  .ours { stroke-width: 3.25; }
  .as-it-is { stroke-dasharray: 5 3; }
  .leader { stroke-width: 1; opacity: 0.6; }
"""
DARK = """
    text { fill: #e4e7eb; }
    .small { fill: #aab4c0; }
    .frame { fill: #161b22; stroke: #4a5563; }
    .grid { stroke: #2b3440; }
    .most { stroke: #8793a0; }
"""

Point = tuple[float, float]


def draw(workloads: Iterable[Workload], results: Results) -> str:
    """The whole picture, or nothing if no goodput was measured."""
    rows: dict[str, list[Workload]] = {}
    for workload in workloads:
        if workload.kind is Kind.GOODPUT and lines(results, workload):
            application = workload.name.split("-")[1]
            rows.setdefault(application, []).append(workload)
    if not rows:
        return ""
    width = 2 * MARGIN + PANEL_WIDTH * max(map(len, rows.values()))
    height = TOP + PANEL_HEIGHT * len(rows) + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'role="img">',
        "<title>Answers in time against the load</title>",
        "<desc>One line for each server. The dashed line is what a server of this capacity can do.</desc>",
        f"<style>{style()}</style>",
        f'<rect class="frame" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>',
        text("title", (MARGIN, 30), "Answers in time against the load"),
        text(
            "small",
            (MARGIN, 48),
            "In percent and in multiples of the capacity. Clients give up after a second.",
        ),
    ]
    for down, panels in enumerate(rows.values()):
        for across, workload in enumerate(panels):
            corner = (MARGIN + across * PANEL_WIDTH, TOP + down * PANEL_HEIGHT)
            parts += panel(corner, workload, lines(results, workload))
    return "\n".join([*parts, "</svg>", ""])


def lines(results: Results, workload: Workload) -> dict[str, list[Point]]:
    """The points of each server that has figures: the load and the answers in time, in capacities."""
    found: dict[str, list[Point]] = {}
    for arm in ARMS:
        per_s = results.mid(cells.capacity, workload.name, arm.name)
        mids = ((x, results.mid(cells.at_load(IN_TIME.figure, x), workload.name, arm.name)) for x in LOADS)
        points = [(x, share) for x, mid in mids if (share := ratio(mid, per_s)) is not None]
        if points:
            found[arm.name] = points
    return found


def panel(corner: Point, workload: Workload, servers: dict[str, list[Point]]) -> list[str]:
    """One workload's axes, lines and labels."""
    left, top = corner[0] + 34, corner[1] + 40
    bottom = top + PLOT_HEIGHT
    _, variant = workload.name.split("-", 1)

    def place(point: Point) -> Point:
        return left + point[0] / LOADS[-1] * PLOT_WIDTH, bottom - min(
            point[1], HIGHEST
        ) / HIGHEST * PLOT_HEIGHT

    parts = [
        text("name", (corner[0], corner[1] + 14), variant),
        text("small", (corner[0], corner[1] + 29), workload.title),
    ]
    for share in (0, 0.5, 1):
        x, y = place((0, share))
        parts.append(f'<line class="grid" x1="{x:g}" y1="{y:g}" x2="{left + PLOT_WIDTH}" y2="{y:g}"/>')
        parts.append(text("small end", (x - 5, y + 4), f"{share:.0%}"))
    parts += [text("small middle", (place((x, 0))[0], bottom + 15), f"{x:g}") for x in LOADS if x != 0.9]
    parts.append(polyline("most", [place(point) for point in ((0, 0), (1, 1), (LOADS[-1], 1))]))
    placed = {name: [place(point) for point in points] for name, points in servers.items()}
    labels = spread([points[-1][1] for points in placed.values()], top, bottom)
    for (name, points), y in zip(placed.items(), labels, strict=True):
        parts += curve(name, points, (left + PLOT_WIDTH + 16, y))
    return parts


def curve(name: str, points: Sequence[Point], label: Point) -> list[str]:
    """One server's line, with its name at the end."""
    own = f"s{slot(name)}" + (" as-it-is" if name.endswith(DEFAULT) else "")
    (end_x, end_y), (x, y) = points[-1], (label[0] - 3, label[1])
    leader = f'<line class="{own} leader" x1="{end_x:.1f}" y1="{end_y:.1f}" x2="{x:.1f}" y2="{y:.1f}"/>'
    dots = [f'<circle class="{own} dot" cx="{x:.1f}" cy="{y:.1f}" r="2.75"/>' for x, y in points]
    thick = " ours" if slot(name) == 0 else ""
    return [
        polyline(f"{own} line{thick}", points),
        *dots,
        leader,
        text("name" if thick else "", (label[0], label[1] + 4), name),
    ]


def spread(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Heights near the wanted ones, in the same order, a line apart, and from top to bottom if there is room."""
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    heights = list(wanted)
    lowest = top
    for at in order:
        heights[at] = lowest = max(heights[at], lowest)
        lowest += LINE
    highest = bottom
    for at in reversed(order):
        heights[at] = highest = min(heights[at], highest)
        highest -= LINE
    return heights


def slot(name: str) -> int:
    """The place of a server among those that are drawn, and so its colour: the same in every panel and run.

    A server with its default settings has the colour of the other row.
    """
    drawn = [arm.name for arm in ARMS if not any(skip.startswith("goodput-") for skip in arm.skips)]
    return drawn.index(name.removesuffix(DEFAULT))


def style() -> str:
    """The style sheet: the colours of each server, for light and for dark."""
    light, dark = ("".join(_colour(number, pair[at]) for number, pair in enumerate(COLOURS)) for at in (0, 1))
    return f"{STYLE}{light}  @media (prefers-color-scheme: dark) {{{DARK}{dark}  }}\n"


def _colour(number: int, colour: str) -> str:
    return f"  .s{number} {{ stroke: {colour}; }}\n  .s{number}.dot {{ fill: {colour}; }}\n"


def polyline(kind: str, points: Iterable[Point]) -> str:
    """A line through points."""
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def text(kind: str, at: Point, words: str) -> str:
    """A line of text."""
    return f'<text class="{kind}" x="{at[0]:.1f}" y="{at[1]:.1f}">{escape(words)}</text>'
