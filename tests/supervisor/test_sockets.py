"""The sockets that a supervisor keeps: how they are identified, and which of them are found again."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from halfsync.listening.opening import open_listeners
from halfsync.settings import Settings
from halfsync.supervisor.sockets import Sockets, names_of


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Go to a directory whose path is short enough for a socket."""
    with TemporaryDirectory(prefix="hs") as name:
        monkeypatch.chdir(name)
        yield Path(name).resolve()


def named(*binds: str) -> Settings:
    return Settings.from_options(bind=binds)


def test_a_socket_file_is_known_by_its_place(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    for bind in ("unix:link/s", "unix:real/s", f"unix:{folder}/link/s", f"unix://{folder}/real/../real/s"):
        assert names_of(named(bind)) == {f"unix:{folder}/real/s"}
    for bind in ("unix:@link/s", "127.0.0.1:80", "fd://3", "systemd"):
        assert names_of(named(bind)) == {bind}


def test_a_relative_socket_that_an_old_program_knows_by_its_text_is_found(folder: Path) -> None:
    """Programs of before knew all binds by their text."""
    sockets = Sockets({"unix:s": open_listeners(["unix:s"], 8)})
    (listener,), _, names = sockets.open(named("unix:s"))
    assert names == {f"unix:{folder}/s"}
    assert sockets.drop_inherited() == []
    sockets.keep(names)
    assert listener.socket.fileno() >= 0 and (folder / "s").is_socket()
    sockets.close()
    assert not (folder / "s").exists()


def test_a_socket_whose_directory_was_moved_is_the_same_and_its_file_is_removed(folder: Path) -> None:
    (folder / "one").mkdir()
    os.chdir("one")
    sockets = Sockets()
    (before,), _, _ = sockets.open(named("unix:s"))
    (folder / "one").rename(folder / "two")
    (after,), _, names = sockets.open(named("unix:s"))
    assert after.socket is before.socket
    sockets.keep(names)
    assert names == {f"unix:{folder}/two/s"} == set(sockets.listeners)
    sockets.close()
    assert not (folder / "two" / "s").exists()


def test_a_socket_behind_a_switched_link_is_another_socket(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
    (folder / "link").symlink_to("one")
    sockets = Sockets()
    _, _, first = sockets.open(named("unix:link/s"))
    (folder / "link").unlink()
    (folder / "link").symlink_to("two")
    _, _, second = sockets.open(named("unix:link/s"))
    sockets.keep(first | second)
    assert (folder / "one" / "s").is_socket() and (folder / "two" / "s").is_socket()
    sockets.keep(second)
    assert not (folder / "one" / "s").exists() and (folder / "two" / "s").is_socket()
    sockets.close()
