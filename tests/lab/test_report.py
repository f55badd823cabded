"""report.html: one valid page that says all, without a script and without anything outside it."""

from dataclasses import replace
from pathlib import Path

import pytest

from halfsync.lab.experiment import Outcome, Plot, Verdict
from halfsync.lab.report import facts, report
from halfsync.lab.results import Record, about, read, write
from halfsync.lab.samples import Samples
from tests.browser import Browser
from tests.lab.fakes import Invented, fails_at
from tests.lab.pages import Page
from tests.lab.test_results import a_record, some_results

SIZES = [(1280, 900), (390, 844)]


def named(record: Record, name: str, verdict: Verdict | None) -> Record:
    return replace(record, about=replace(record.about, name=name, title=f"Title of {name}"), verdict=verdict)


def each_outcome() -> list[Record]:
    record = a_record()
    return [
        named(record, f"experiment {outcome.name}", Verdict(outcome, f"What {outcome.value} means & more."))
        for outcome in Outcome
    ]


def test_it_is_a_valid_page_without_scripts_and_addresses() -> None:
    text = report(some_results(*each_outcome()))
    page = Page(text)
    assert page.faults == []
    assert "script" not in page.tags
    assert "://" not in text
    assert "@import" not in text
    assert text.startswith("<!DOCTYPE html>\n")


def test_it_has_each_verdict_with_its_claim_and_its_sentence() -> None:
    records = each_outcome()
    page = Page(report(some_results(*records)))
    for record in records:
        assert record.verdict is not None
        assert f"{record.verdict.outcome.value} {record.verdict.sentence}" in page.text
        assert record.about.title in page.text
    for words in (Invented.claim, Invented.said_by, Invented.method):
        assert page.text.count(words) == len(records)


def test_it_has_the_noise_floor_the_notes_and_what_others_found() -> None:
    record = a_record(Invented(fails_at(1.0)))
    noise = record.noise()
    assert noise is not None
    text = Page(report(some_results(record))).text
    assert "Noise floor: " in text
    assert "only 100 descriptors" in text
    assert "proactor at 1: no descriptors left" in text
    assert "Nobody et al., 2007 18 % faster here the pool costs" in text


def test_it_has_all_figures_in_tables_with_units() -> None:
    text = Page(report(some_results(a_record()))).text
    assert "CPU per request (µs)" in text
    assert "latency (ms)" in text
    assert "proactor p99" in text
    assert text.count("the lowest and the highest") >= 2


def test_it_says_where_and_how_it_was_measured() -> None:
    text = Page(report(some_results(a_record()))).text
    for words in (
        "A <processor>",
        "8,192 MiB",
        "32,768",
        "matplotlib 3.11",
        "halfsync compare 'shop:app & co'",
    ):
        assert words in text
    assert "cgroup pids" not in text


def test_what_was_not_measured_is_not_drawn_but_said() -> None:
    experiment = Invented()
    record = Record(
        about(experiment), experiment.plan(None), Samples(), experiment.judge(Samples()), whole=True
    )
    page = Page(report(some_results(record)))
    assert page.faults == []
    assert "svg" not in page.tags
    assert "not measured too little was measured" in page.text
    assert "Noise floor: not known" in page.text


@pytest.mark.parametrize("records", [0, 1, 2])
def test_a_partial_run_says_so(records: int) -> None:
    finished = named(a_record(), "first", Verdict(Outcome.HOLDS, "It holds."))
    part = replace(named(a_record(), "second", None), whole=False)
    page = Page(report(some_results(*[finished, part][:records])))
    assert page.faults == []
    assert ("Partial:" in page.text) == (records == 2)


def test_it_can_be_made_again_from_results(tmp_path: Path) -> None:
    results = some_results(*each_outcome())
    write(results, tmp_path / "results.json")
    assert report(read(tmp_path / "results.json")) == report(results)


def test_what_an_experiment_says_is_never_markup() -> None:
    record = a_record()
    plots = (Plot("<script>alert(1)</script>", "cpu_us", "<b>", '"><i>'),)
    evil = replace(
        record, about=replace(record.about, title="</style><script>", said_by="<img src=x>", plots=plots)
    )
    page = Page(report(some_results(evil)))
    assert page.faults == []
    assert not {"script", "img", "b", "i"} & set(page.tags)


def test_facts_are_named_for_people() -> None:
    machine = {
        "memory_bytes": 1 << 30,
        "cpus": [0],
        "limits": {"pid_max": 32768, "none": None},
        "new_thing": True,
    }
    assert facts(machine) == [
        ("memory", "1,024 MiB"),
        ("processes and threads of the system (pid_max)", "32,768"),
        ("new thing", "yes"),
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_browser_shows_it_without_scrolling_sideways(
    browser: Browser, tmp_path: Path, width: int, height: int, dark: bool
) -> None:
    (tmp_path / "report.html").write_text(report(some_results(*each_outcome())))
    browser.dress(width=width, height=height, dark=dark, scripts=True)
    browser.open((tmp_path / "report.html").as_uri())
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.console() == []
    # Each word of a picture lies within it, is large enough to be read, and is apart from the others.
    assert browser.evaluate(MISPLACED) == []


MISPLACED = """
[...document.querySelectorAll("svg.plot")].flatMap((picture) => {
  const frame = picture.getBoundingClientRect();
  const words = [...picture.querySelectorAll("text")];
  const boxes = words.map((word) => word.getBoundingClientRect());
  const faults = [];
  boxes.forEach((box, at) => {
    const text = words[at].textContent;
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
        || box.bottom > frame.bottom + 1) faults.push(text + " leaves the picture");
    if (box.height < 10) faults.push(text + " is too small: " + box.height);
    boxes.slice(0, at).forEach((other, before) => {
      const apart = box.left >= other.right || other.left >= box.right || box.top + 2 >= other.bottom
          || other.top + 2 >= box.bottom;
      if (!apart) faults.push(text + " overlaps " + words[before].textContent);
    });
  });
  return faults;
})
"""
