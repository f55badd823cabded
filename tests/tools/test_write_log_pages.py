"""The tables of the logs' fields: they are those of the code, and a stale one is noticed."""

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
