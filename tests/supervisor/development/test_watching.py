"""What counts as a change of the application's code, and watching for it."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.supervisor.development import watching
from halfsync.supervisor.development.sources import changed_at, pack
from halfsync.supervisor.development.watching import (
    NAME_BYTES,
    Scope,
    Selection,
    SourceWatcher,
    describe,
    is_source,
)

WAIT_S = 20.0


@pytest.mark.parametrize("name", ["app.py", "_app.py", "a b.py"])
def test_sources_count(name: str) -> None:
    assert is_source(name)


@pytest.mark.parametrize(
    "name", [".#app.py", "#app.py#", "app.py~", ".app.py.swp", "app.pyc", "4913", "flycheck_app.py"]
)
def test_files_of_editors_and_others_do_not(name: str) -> None:
    assert not is_source(name)


def test_foreign_folders_are_not_searched(tmp_path: Path) -> None:
    for name in (
        ".venv/lib",
        ".git/x",
        "node_modules/x",
        "__pycache__",
        "env/lib",
        "shop/views",
        "deep/er/still",
    ):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    (tmp_path / "round").symlink_to(tmp_path)
    selection = Selection(Scope((str(tmp_path),)))
    kept = {"", "/shop", "/shop/views", "/deep", "/deep/er", "/deep/er/still"}
    assert selection.tree == selection.folders == {f"{tmp_path}{name}" for name in kept}
    assert selection.counts(f"{tmp_path}/shop/views/a.py") and not selection.counts(
        f"{tmp_path}/env/lib/a.py"
    )


def test_root_may_be_in_a_hidden_folder(tmp_path: Path) -> None:
    (tmp_path / ".hidden" / "node_modules").mkdir(parents=True)
    selection = Selection(Scope((f"{tmp_path}/.hidden/node_modules",)))
    assert selection.counts(f"{tmp_path}/.hidden/node_modules/a.py")


def test_single_files_elsewhere_count_by_the_names_the_system_has_for_them(tmp_path: Path) -> None:
    for name in ("root", "real", "store"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "store" / "kept.py").touch()
    (tmp_path / "real" / "one.py").symlink_to(tmp_path / "store" / "kept.py")
    selection = Selection(
        Scope((f"{tmp_path}/root",)), [f"{tmp_path}/link/one.py", f"{tmp_path}/root/halfsync.toml"]
    )
    assert selection.folders == {f"{tmp_path}/{name}" for name in ("root", "real", "store")}
    for name in ("real/one.py", "store/kept.py", "root/halfsync.toml"):
        assert selection.counts(f"{tmp_path}/{name}")
    for name in ("real/two.py", "store/two.py", "root/other.toml"):
        assert not selection.counts(f"{tmp_path}/{name}")


def test_number_of_folders_is_bounded_and_the_nearest_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "FOLDERS_MOST", 4)
    for name in ("a/deep", "b/deep", "c/deep"):
        (tmp_path / name).mkdir(parents=True)
    selection = Selection(Scope((str(tmp_path),)))
    assert selection.cropped and selection.tree == {f"{tmp_path}{name}" for name in ("", "/a", "/b", "/c")}


def test_changes_are_described_shortly(tmp_path: Path) -> None:
    selection = Selection(Scope((str(tmp_path),)))
    assert describe(selection, [f"{tmp_path}/b.py", f"{tmp_path}/a.py"]) == "a.py and 1 other"
    assert describe(selection, ["/x.py"] * 3) == "/x.py and 2 others"
    assert len(describe(selection, ["/" + "ä" * 1000 + ".py"]).encode()) <= NAME_BYTES + 3
    describe(selection, [os.fsdecode(b"/\xff.py")]).encode()


class Watched:
    """A watch under test."""

    def __init__(self, root: Path, reports: tuple[socket.socket, socket.socket]) -> None:
        self.root = root
        self._reports, self.report = reports
        self.watch = SourceWatcher(Selection(Scope((str(root),))), self._reports)

    def changes(self) -> set[str]:
        """Wait for changes, and return them by their names below the root's parent."""
        deadline = time.monotonic() + WAIT_S
        while not (found := self.watch.changes()):
            assert time.monotonic() < deadline, "nothing was seen"
        return {os.path.relpath(path, self.root) for path in found}

    def tell(self, *paths: Path) -> None:
        for packet in pack({str(path): changed_at(str(path)) for path in paths}):
            self.report.send(packet)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Return a watch of a new folder."""
    root = tmp_path / "root"
    root.mkdir()
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield Watched(root, ends)
    for end in ends:
        end.close()


def test_written_replaced_and_removed_files_are_seen(watched: Watched) -> None:
    path = watched.root / "app.py"
    path.write_text("1")
    assert watched.changes() == {"app.py"}
    (watched.root / "app.py~").write_text("2")
    (watched.root / "app.py~").replace(path)
    assert watched.changes() == {"app.py"}
    path.unlink()
    assert watched.changes() == {"app.py"}


def test_irrelevant_files_are_not_watched(watched: Watched) -> None:
    for name in ("a.txt", ".#a.py", "a.pyc"):
        (watched.root / name).write_text("")
    (watched.root / ".git").mkdir()
    (watched.root / ".git" / "a.py").write_text("")
    (watched.root / "last.py").write_text("")
    assert watched.changes() == {"last.py"}


def test_new_folders_are_watched_with_what_they_hold(watched: Watched) -> None:
    outside = watched.root.parent / "outside" / "inner"
    outside.mkdir(parents=True)
    (outside / "one.py").write_text("")
    outside.parent.rename(watched.root / "package")
    assert watched.changes() == {"package/inner/one.py"}
    (watched.root / "package" / "inner" / "two.py").write_text("")
    assert watched.changes() == {"package/inner/two.py"}


def test_folder_that_comes_back_is_watched_again(watched: Watched) -> None:
    for text in ("1", "2"):
        (watched.root / "package").mkdir()
        (watched.root / "package" / "one.py").write_text(text)
        assert watched.changes() == {"package/one.py"}
        (watched.root / "package" / "one.py").write_text(text + text)
        assert watched.changes() == {"package/one.py"}
        (watched.root / "package" / "one.py").unlink()
        (watched.root / "package").rmdir()
        assert watched.changes() == {"package/one.py"}


def test_file_elsewhere_is_watched_once_it_is_reported(watched: Watched) -> None:
    library = watched.root.parent / "library"
    library.mkdir()
    (library / "one.py").write_text("")
    watched.tell(library / "one.py")
    while str(library) not in watched.watch._watched:
        assert watched.watch.changes() == set()
    (library / "two.py").write_text("")
    (library / "one.py").write_text("1")
    assert watched.changes() == {"../library/one.py"}


def test_change_between_loading_and_watching_is_seen(watched: Watched) -> None:
    path = watched.root.parent / "elsewhere.py"
    path.write_text("")
    watched.tell(path)
    os.utime(path, ns=(1, 1))
    assert watched.changes() == {"../elsewhere.py"}


def test_change_before_the_watch_begins_is_seen(tmp_path: Path) -> None:
    path = str(tmp_path / "halfsync.toml")
    told = {path: changed_at(path)}  # it is not there yet
    Path(path).write_text("")
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends[0], ends[1]:
        assert SourceWatcher(Selection(Scope((str(tmp_path),)), told), ends[0], told).changes() == {path}


def test_missing_folder_is_no_error(watched: Watched) -> None:
    library = watched.root.parent / "library"
    library.mkdir()
    watched.tell(library / "one.py")
    library.rmdir()
    watched.watch.changes()
    (watched.root / "app.py").write_text("1")
    assert watched.changes() == {"app.py"}


def test_more_folders_and_files_count(tmp_path: Path) -> None:
    for name in ("one/templates", "one/generated", "two/data"):
        (tmp_path / name).mkdir(parents=True)
    roots = (f"{tmp_path}/one", f"{tmp_path}/two")
    selection = Selection(Scope(roots, include=("*.html", "data/*.json"), exclude=("generated", "test_*")))
    assert selection.folders == {*roots, f"{tmp_path}/one/templates", f"{tmp_path}/two/data"}
    for name in ("one/a.py", "two/a.py", "one/templates/a.html", "two/data/a.json"):
        assert selection.counts(f"{tmp_path}/{name}"), name
    for name in ("one/a.json", "one/a.css", "one/generated/a.py", "one/test_a.py", "two/test_a.html"):
        assert not selection.counts(f"{tmp_path}/{name}"), name
    assert not selection.is_new_folder(f"{tmp_path}/one/generated")
    assert selection.name(f"{tmp_path}/one/a.py") == "a.py"


def test_a_folder_below_another_is_watched_once(tmp_path: Path) -> None:
    (tmp_path / "inner" / "deep").mkdir(parents=True)
    selection = Selection(Scope((str(tmp_path), f"{tmp_path}/inner", str(tmp_path))))
    assert selection.folders == {str(tmp_path), f"{tmp_path}/inner", f"{tmp_path}/inner/deep"}
    assert not selection.scan()
