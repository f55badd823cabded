"""Write docs/lab.md, and a picture of each experiment, from a run of all experiments on a machine with a name.

    halfsync compare --experiment all --budget 10m --output docs/lab
    python -m tools.write_lab_page

The run is kept in docs/lab/results.json. The claims and methods come from the sources, the figures from the run. With
--check, write nothing, and end with 1 if the page is stale; pictures are not compared, since they differ with the
version of matplotlib.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tools.written import ROOT, placed, write_or_check

from halfsync.lab.experiment import Outcome
from halfsync.lab.experiments import BY_NAME
from halfsync.lab.palette import variables
from halfsync.lab.plots import draw, series_of
from halfsync.lab.report import STYLE
from halfsync.lab.results import Record, Results, about, read
from halfsync.lab.wording import share

PAGE = ROOT / "docs" / "lab.md"
FOLDER = ROOT / "docs" / "lab"
BEGIN, END = "<!-- written by tools/write_lab_page.py -->", "<!-- end of the experiments -->"
NOTES = 4
"""How many limits of an experiment stand on the page."""


def style() -> str:
    """Return the style sheet of a picture that stands alone: the report's colours, a ground, and a font."""
    colours, _, _ = STYLE.read_text(encoding="utf-8").partition("\n* {")
    return f"{variables()}{colours}\nsvg{{background:var(--panel);font-family:system-ui,sans-serif}}"


def picture(record: Record) -> str:
    """Return the first plot of an experiment as a file, or "" if nothing of it was measured."""
    plot = record.about.plots[0]
    series = series_of(plot, record.samples, record.arms())
    if not series:
        return ""
    drawn = draw(plot, record.about.axis, series, record.about.name)
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)
    assert box, "a plot has a box"
    size = f'width="{float(box[1]) * 1.6:.0f}" height="{float(box[2]) * 1.6:.0f}"'
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" {size} '
    return drawn.replace("<svg ", begin, 1).replace(">", f"><style>{style()}</style>", 1) + "\n"


def fresh(record: Record) -> Record:
    """Return a record with what its experiment says of itself, and its verdict, as they are today."""
    experiment = BY_NAME[record.about.name]
    return replace(record, about=about(experiment), verdict=experiment.judge(record.samples))


def section(record: Record) -> Iterator[str]:
    """Yield the paragraphs of an experiment."""
    about = record.about
    verdict = record.verdict
    assert verdict, "a fresh record has one"
    yield f"## {about.title}"
    yield f"> {about.claim}\n>\n> {about.said_by}"
    if verdict.outcome is Outcome.NOT_MEASURED:
        yield f"**Not measured.** {verdict.sentence}"
    else:
        yield f"**{verdict.outcome.value.capitalize()}.** {verdict.sentence}"
    if record.samples.samples:
        yield f"![{about.plots[0].title}](lab/{about.name}.svg)"
    yield about.method
    noise = record.noise()
    rounds = len({sample.round for sample in record.samples})
    floor = "" if noise is None else f"; noise floor {share(noise)}"
    made = "one round" if rounds == 1 else f"{rounds} rounds"
    yield f"`halfsync compare --experiment {about.name}`; {made} here{floor}."
    if about.published:
        rows = [f"| {each.figure} | {each.source} |" for each in about.published]
        yield "\n".join(["| what others found | where |", "|---|---|", *rows])
    if notes := record.notes():
        more = [f"- and {len(notes) - NOTES} more, in lab/results.json"] if len(notes) > NOTES else []
        yield "\n".join(["Limits of this run:", "", *(f"- {note}" for note in notes[:NOTES]), *more])


def where(results: Results) -> str:
    """Return the machine, in a sentence."""
    machine = results.machine
    return (
        f"The figures below are of one run, on {results.started[:10]}: {machine['model']}, {machine['processors']} "
        f"processors, Linux {machine['kernel']}, {machine['python']}, halfsync {results.versions['halfsync']}. On "
        "another machine they will be others; the command that makes them stands with each."
    )


def files(run: Path) -> dict[Path, str]:
    """Return the page, and the pictures, with their texts."""
    results = read(run)
    records = [fresh(record) for record in results.records]
    paragraphs = [where(results), *(text for record in records for text in section(record))]
    found = {PAGE: placed(PAGE, BEGIN, "\n\n".join(paragraphs) + "\n", END)}
    for record in records:
        if text := picture(record):
            found[FOLDER / f"{record.about.name}.svg"] = text
    return found


def main(arguments: list[str]) -> int:
    """Write or check the page; return the exit code."""
    written = files(FOLDER / "results.json")
    if "--check" in arguments:
        written = {PAGE: written[PAGE]}
    return write_or_check(written, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
