"""The titles of processes: set if the package for it is installed, else unchanged."""

import sys
import types
from pathlib import Path

import pytest

from halfsync.host import titles


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles that were set, by a fake package."""
    found: list[str] = []
    package = types.ModuleType("setproctitle")
    package.setproctitle = found.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "setproctitle", package)
    return found


def test_titles(named: list[str]) -> None:
    titles.name_supervisor("shop.wsgi:application")
    titles.name_worker(2, "shop.wsgi:application")
    assert named == [
        "halfsync: supervisor [shop.wsgi:application]",
        "halfsync: worker 2 [shop.wsgi:application]",
    ]


def test_a_title_is_one_line(named: list[str]) -> None:
    titles.name_worker(1, "a\nb\x1b[0m")
    assert named == ["halfsync: worker 1 [a?b?[0m]"]


def test_without_the_package_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "setproctitle", None)
    before = Path("/proc/self/cmdline").read_bytes()
    titles.name_supervisor("x")
    assert Path("/proc/self/cmdline").read_bytes() == before


def test_the_real_package() -> None:
    setproctitle = pytest.importorskip("setproctitle", reason="setproctitle is not installed")
    before = setproctitle.getproctitle()
    try:
        titles.name_worker(3, "app")
        assert Path("/proc/self/cmdline").read_bytes().rstrip(b"\0") == b"halfsync: worker 3 [app]"
    finally:
        setproctitle.setproctitle(before)
