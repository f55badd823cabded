"""The page that explains a recommendation has the settings, the reasons, the plots and the figures."""

import re

import pytest

from halfsync.lab import machine
from halfsync.lab.tune.choosing import file, why
from halfsync.lab.tune.page import LAW, MEASURED, page, samples
from halfsync.lab.tune.tuning import Tuned, tune
from tests.lab.pages import Page
from tests.lab.tune.surfaces import Surface

COMMAND = ("halfsync", "tune", "shop:app", "--path", "/cart?<b>")


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    surface = Surface(0.012, 0.002, 0.0018, 2)
    return tune(surface, 120.0, say=lambda _line: None, clock=surface.clock)


@pytest.fixture(scope="module")
def text(tuned: Tuned) -> str:
    about = {"started": "2026-12-01T02:00:00+00:00", "machine": machine.read().as_json(), "version": "1.0"}
    settings = file(tuned.recommendation, "shop:app", ["/cart?<b>"])
    return page(tuned, settings, COMMAND, about, ["something <to> know"])


def test_it_is_one_whole_page(text: str) -> None:
    found = Page(text)
    assert found.faults == []
    assert "halfsync tune shop:app" in found.text
    assert "something <to> know" in found.text
    assert "<b>" not in text
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_it_has_the_settings_and_the_reasons(text: str, tuned: Tuned) -> None:
    found = Page(text)
    assert why(tuned.recommendation) in found.text
    assert f"threads = {tuned.recommendation.best.candidate.threads}" in found.text
    assert text.count("<svg") == 2


def test_each_finalist_is_there_with_its_role(text: str, tuned: Tuned) -> None:
    found = Page(text)
    for finalist in tuned.recommendation.finalists:
        assert str(finalist.candidate) in found.text
    assert "(recommended" in found.text
    assert "(the default)" in found.text


def test_the_law_is_drawn_as_far_as_was_measured(tuned: Tuned) -> None:
    one, tried = samples(tuned)
    assert one.arms() == (MEASURED, LAW)
    assert max(one.places(LAW)) <= max(one.places(MEASURED))
    assert "proactor, 1 process" in tried.arms()
    assert len(list(tried)) == len(tuned.trials)
