"""The page for those who come from other servers has what the table of settings says, and every setting of theirs."""

import inspect

import pytest

from halfsync.migration.servers import FALSE_FRIENDS, SERVERS, UVICORN, WAITRESS
from halfsync.settings.elsewhere import explain
from tools import write_migration_page as under_test


def test_the_page_is_in_step() -> None:
    text = under_test.PAGE.read_text(encoding="utf-8")
    assert under_test.render(text) == text


@pytest.mark.parametrize("server", SERVERS)
def test_every_setting_has_a_counterpart_or_a_reason(server: str) -> None:
    rows = under_test.rows(server)
    assert len({name for name, _ in rows}) == len(SERVERS[server])
    assert not any("{" in said or said.endswith(".") for _, said in rows)


def test_exceptions_are_needed() -> None:
    for (server, name), said in FALSE_FRIENDS.items():
        assert name in SERVERS[server]
        assert said != explain(name.replace("-", "_"))


def test_a_stale_table_is_noticed() -> None:
    text = under_test.PAGE.read_text(encoding="utf-8")
    assert under_test.render(text.replace("| `backlog` | the same |", "| `backlog` | other |", 1)) == text
    with pytest.raises(AssertionError, match="no place for gunicorn"):
        under_test.render("nothing")


def test_all_of_waitress_is_there() -> None:
    adjustments = pytest.importorskip("waitress.adjustments")
    assert {name for name, _ in adjustments.Adjustments._params} <= set(WAITRESS)


def test_all_of_uvicorn_is_there() -> None:
    uvicorn = pytest.importorskip("uvicorn")
    objects = {"ssl_context_factory"}  # not of the command line
    assert set(inspect.signature(uvicorn.Config).parameters) - objects <= set(UVICORN)
