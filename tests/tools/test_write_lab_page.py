"""The page of the lab: it shows each experiment, with a picture that stands alone."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from tools.write_lab_page import FOLDER, PAGE, fresh, main, picture, section

from halfsync.lab.experiments import ALL
from halfsync.lab.results import Record, read
from halfsync.lab.samples import Samples


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return [fresh(record) for record in read(FOLDER / "results.json").records]


def test_the_page_is_up_to_date() -> None:
    assert main(["--check"]) == 0


def test_each_experiment_has_its_verdict_and_a_picture_that_is_there(records: list[Record]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [record.about.name for record in records] == [experiment.name for experiment in ALL]
    for record in records:
        assert f"## {record.about.title}" in page
        assert record.verdict and record.verdict.sentence in page
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
    assert len(pictures) == len(ALL)
    assert all((PAGE.parent / name).is_file() for name in pictures)


def test_a_picture_stands_alone(records: list[Record]) -> None:
    text = picture(records[0])
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    used = set(re.findall(r"var\((--[\w-]+)\)", text))
    assert used <= set(re.findall(r"(--[\w-]+):", text))
    assert "http" not in text.replace("http://www.w3.org/", "")


def test_what_was_not_measured_is_said_and_has_no_picture(records: list[Record]) -> None:
    nothing = fresh(replace(records[0], samples=Samples()))
    assert picture(nothing) == ""
    text = "\n".join(section(nothing))
    assert "**Not measured.**" in text
    assert "![" not in text
