"""The settings page: it is the declaration, whole, and a stale one is noticed."""

from pathlib import Path

import pytest

from halfsync.settings import SETTINGS
from tools import write_settings_page as under_test


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(under_test, "ROOT", tmp_path)
    monkeypatch.setattr(under_test, "PAGE", tmp_path / "docs" / "settings.md")
    return under_test.PAGE


def test_the_page_names_each_setting_in_every_spelling() -> None:
    text = under_test.render()
    for setting in SETTINGS:
        entry = text.partition(f"\n### {setting.name}\n")[2].partition("\n### ")[0]
        assert setting.doc in entry
        assert setting.reason in entry
        assert f"`{setting.flag}`" in entry
        assert f"`{setting.variable}`" in entry
        assert f"`{setting.kind.show(setting.default)}`" in entry


def test_the_page_in_the_repository_is_fresh() -> None:
    assert under_test.main(["--check"]) == 0


def test_a_missing_or_changed_page_is_stale(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert under_test.main(["--check"]) == 1
    assert capsys.readouterr().err == "docs/settings.md is stale: run `make docs`\n"
    assert under_test.main([]) == 0
    assert under_test.main(["--check"]) == 0
    page.write_text(page.read_text().replace("75s", "76s"))
    assert under_test.main(["--check"]) == 1
