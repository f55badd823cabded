"""The directory in which the server was started, by the name that the user gave it."""

import os
from pathlib import Path

import pytest

from halfsync.host.directory import StartDirectory, is_removed


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a directory of the test, and back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PWD", raising=False)
    return tmp_path


def there(start: StartDirectory) -> Path:
    with start.entered():
        return Path.cwd()


@pytest.fixture
def link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a link to the directory "first", in which this process is."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("first")
    monkeypatch.chdir(tmp_path / "link")
    return tmp_path / "link"


def test_a_switched_link_in_the_name_is_followed(
    link: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", str(link))
    start = StartDirectory()
    assert start.name == str(link)
    link.unlink()
    link.symlink_to("second")
    assert there(start) == tmp_path / "second"
    assert Path.cwd() == tmp_path / "first"


@pytest.mark.parametrize("said", ["", ".", "link", "/", "/nowhere", "second"])
def test_another_name_is_ignored(
    link: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("PWD", str(tmp_path / said) if said == "second" else said)
    assert StartDirectory().name == str(tmp_path / "first")


def test_a_directory_that_was_moved_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    start = StartDirectory()
    (tmp_path / "first").rename(tmp_path / "moved")
    assert there(start) == tmp_path / "moved"


def test_a_removed_directory_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    start = StartDirectory()
    assert not is_removed()
    os.chdir(tmp_path)
    (tmp_path / "first").rmdir()
    with start.entered():
        assert is_removed()
        assert not Path("first").exists()
    assert Path.cwd() == tmp_path


def test_it_has_no_name_once_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    monkeypatch.setenv("PWD", str(tmp_path / "first"))
    (tmp_path / "first").rmdir()
    start = StartDirectory()
    assert start.name == ""
    with start.entered():  # and comes back to what was removed
        assert is_removed()
    assert is_removed()
    os.chdir(tmp_path)
