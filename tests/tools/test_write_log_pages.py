"""The tables of the logs' fields: they are those of the code, and a stale one is noticed."""

from pathlib import Path

import pytest

from halfsync.log import KEYS
from halfsync.settings.access_format import FIELDS
from tools import write_log_pages as under_test


def test_the_tables_have_all_fields() -> None:
    access, server = under_test.access_table(), under_test.server_table()
    for one in FIELDS:
        (row,) = [line for line in access.splitlines() if line.startswith(f"| `{one.name}` |")]
        assert one.doc in row
        assert f"`%({one.name})s`" in row
        assert not one.atom or f"`%({one.atom})s`" in row
        assert ("| yes |" in row) is one.key
    assert [line.split("`")[1] for line in server.splitlines()[2:]] == list(KEYS)


def test_the_pages_in_the_repository_are_fresh() -> None:
    assert under_test.main(["--check"]) == 0


def test_only_the_table_is_replaced(tmp_path: Path) -> None:
    page = under_test.ACCESS_PAGE
    text = under_test.placed(page, "| a table |\n")
    assert "| a table |" in text
    assert under_test.access_table() not in text
    copy = tmp_path / "access-log.md"
    copy.write_text(text)
    assert under_test.placed(copy, under_test.access_table()) == page.read_text()


def test_a_page_without_a_place_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(AssertionError, match="has no place for its table"):
        under_test.placed(page, "x")
