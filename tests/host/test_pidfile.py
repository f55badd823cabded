"""The pidfile: which process may hold it, how it is written, and which process removes it."""

import errno
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from halfsync.errors import UsageError
from halfsync.host.pidfile import PidFile
from tests.faults.serving import environment
from tests.wsgi import EVENT_TIMEOUT_S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "halfsync.pid"


@pytest.fixture(autouse=True)
def folder(path: Path) -> None:
    path.parent.mkdir()


@pytest.fixture
def other() -> Iterator[int]:
    """A live process that is not this one."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def dead() -> int:
    """The number of a process that ended a moment ago, which no process has."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def refused(path: Path) -> str:
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UsageError) as caught:
        PidFile(str(path), origin="--pidfile").write()
    assert (path.read_bytes() if path.is_file() else None) == before
    assert caught.value.origin == "--pidfile"
    return caught.value.problem


def test_it_is_written_and_removed(path: Path) -> None:
    file = PidFile(str(path))
    assert file.check() is False
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    file.remove()
    file.remove()
    assert not path.exists()


def test_a_live_process_keeps_it(path: Path, other: int) -> None:
    path.write_text(f"{other}\n")
    assert refused(path) == f"{path} belongs to process {other}, which is running"
    with pytest.raises(UsageError, match="which is running; stop it; or remove the file"):
        PidFile(str(path)).check()


def test_another_users_process_is_alive_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "kill", kill)
    path.write_text("4711")
    assert "belongs to process 4711, which is running" in refused(path)


@pytest.mark.parametrize("content", ["", "\n", "0", "9999999999", "{dead}", "{own}\n"])
def test_a_stale_one_is_replaced(path: Path, content: str) -> None:
    path.write_text(content.format(dead=dead(), own=os.getpid()))
    file = PidFile(str(path))
    assert file.check() is True
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        "-1",
        "# hosts\n127.0.0.1 localhost\n",
        "12x",
        "\0",
        "9" * 100,
        " " * 64 + "notes",
        "1" + " " * 63 + "2",
    ],
)
def test_a_file_that_is_no_pidfile_is_not_changed(path: Path, content: str) -> None:
    path.write_text(content)
    assert refused(path) == f"{path} exists, and does not contain a pid"


def test_what_cannot_be_written(path: Path) -> None:
    assert "cannot be written: no such file or directory" in refused(path.parent / "gone" / "x.pid")
    assert "cannot be written: too many levels of symbolic links" in refused(looped(path) / "x.pid")
    assert "cannot be written: not a directory" in refused(Path(__file__) / "x.pid")


def looped(path: Path) -> Path:
    """Make a link to itself in the directory of a path."""
    loop = path.parent / "loop"
    loop.symlink_to("loop")
    return loop


LINKS = {
    "dangling": "gone",
    "into nothing": "gone/x.pid",
    "loop": "halfsync.pid",
    "directory": ".",
    "pipe": "pipe",
    "stale": "stale",
    "empty": "empty",
    "absolute": "/halfsync-no-such-file",
}


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_is_refused_and_stays_as_it_is(path: Path, kind: str) -> None:
    os.mkfifo(path.parent / "pipe")
    (path.parent / "empty").touch()
    (path.parent / "stale").write_text(f"{dead()}\n")
    before = {one.name: one.stat() for one in path.parent.iterdir()}
    path.symlink_to(LINKS[kind])
    for _ in range(2):  # the same each time
        with pytest.raises(UsageError) as caught:
            PidFile(str(path), origin="--pidfile").write()
        assert str(caught.value) == (
            f"--pidfile: {path} is a link to {LINKS[kind]!r}, and links are not followed; "
            "name the file itself, or remove the link"
        )
        with pytest.raises(UsageError, match="is a link to"):
            PidFile(str(path)).check()
    assert path.readlink() == Path(LINKS[kind])
    path.unlink()
    after = {one.name: one.stat() for one in path.parent.iterdir()}
    assert {name: (found.st_ino, found.st_size) for name, found in after.items()} == {
        name: (found.st_ino, found.st_size) for name, found in before.items()
    }


def test_links_on_the_way_are_followed(path: Path) -> None:
    (path.parent.parent / "link").symlink_to(path.parent.name)
    file = PidFile(str(path.parent.parent / "link" / path.name))
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    assert not path.exists()


def test_what_is_no_regular_file_is_refused_without_being_opened(path: Path) -> None:
    path.mkdir()
    assert refused(path) == f"{path} exists, and is a directory"
    path.rmdir()
    os.mkfifo(path)  # it has no writer: to open it would block
    assert refused(path) == f"{path} exists, and is a named pipe"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert refused(path) == f"{path} exists, and is a socket"
    assert refused(Path("/dev/null")) == "/dev/null exists, and is a device"


def test_one_that_cannot_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening = os.open

    def deny(name: str, flags: int, *mode: int) -> int:
        if name == str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opening(name, flags, *mode)

    monkeypatch.setattr(os, "open", deny)
    path.write_text("1")
    assert refused(path) == f"{path} cannot be read: permission denied"


def test_a_link_that_is_made_at_the_last_moment_is_not_followed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As whoever may write in its directory could make one."""
    target = path.parent / "precious"
    target.write_text("")
    opening, linking = os.open, os.link

    def open_late(name: str, flags: int, *mode: int) -> int:
        if name == str(path):
            path.unlink()
            path.symlink_to(target)
        return opening(name, flags, *mode)

    def link_late(source: Any, to: Any) -> None:
        path.symlink_to(target)
        linking(source, to)

    with monkeypatch.context() as patch:
        path.write_text("")
        patch.setattr(os, "open", open_late)
        with pytest.raises(UsageError, match="cannot be read: too many levels of symbolic links"):
            PidFile(str(path)).write()
        path.unlink()
        patch.setattr(os, "open", opening)
        patch.setattr(os, "link", link_late)
        with pytest.raises(UsageError, match="another process has just written"):
            PidFile(str(path)).write()
    with pytest.raises(UsageError, match="is a link to"):
        PidFile(str(path)).write()
    assert target.read_text() == ""


@pytest.mark.parametrize("command", [("check",), ("serve", "--workers", "1"), ("serve",)], ids=" ".join)
def test_the_command_line_refuses_a_dangling_link(path: Path, command: tuple[str, ...]) -> None:
    (path.parent / "served.py").write_text("def app(environ, start_response): ...\n")
    path.symlink_to("gone")
    done = subprocess.run(
        [sys.executable, "-m", "halfsync", command[0], "served:app", "-b", ":0", "--pidfile", path.name, *command[1:]],
        cwd=path.parent, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--pidfile: {path} is a link to 'gone', and links are not followed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_cannot_be_written_to(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "cannot be written: its directory is not writable" in refused(path)
    with pytest.raises(UsageError, match="name a file in a directory that can be written to"):
        PidFile(str(path)).check()


def test_a_read_only_file_system(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", deny)
    assert "cannot be written: read-only file system" in refused(path)


def test_a_failed_write_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert "cannot be written: no space left on device" in refused(path)
    assert list(path.parent.iterdir()) == []


def test_of_two_at_one_time_one_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(source: Any, target: Any) -> None:
        path.write_text("1\n")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(UsageError, match="another process has just written"):
        PidFile(str(path)).write()
    assert path.read_text() == "1\n"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_file_system_without_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", deny)
    PidFile(str(path)).write()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_leftover_file_of_a_crash_is_replaced(path: Path) -> None:
    (path.parent / f"{path.name}.{os.getpid()}").write_text("half")
    PidFile(str(path)).write()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_pidfile_of_a_later_server_is_not_removed(path: Path) -> None:
    file = PidFile(str(path))
    file.write()
    (path.parent / "next").write_text("1\n")
    (path.parent / "next").rename(path)
    file.remove()
    assert path.read_text() == "1\n"


def test_a_child_does_not_remove_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = PidFile(str(path))
    file.write()
    with monkeypatch.context() as patch:
        parent = os.getpid()
        patch.setattr(os, "getpid", lambda: parent + 1)
        file.remove()
    assert path.exists()
    file.remove()
    assert not path.exists()


def test_it_is_found_from_another_directory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    file = PidFile(path.name)
    file.write()
    monkeypatch.chdir("/")
    file.remove()
    assert not path.exists()


def test_what_cannot_be_removed_is_logged(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = PidFile(str(path))
    file.write()

    def deny(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", deny)
    file.remove()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"{path} cannot be removed: permission denied")
    ]


def test_a_reader_never_sees_half_of_it(path: Path) -> None:
    seen: set[bytes] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    path.write_text(f"{os.getpid()}\n")
    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(300):
        PidFile(str(path)).write()
    stop.set()
    reader.join(EVENT_TIMEOUT_S)
    assert seen == {b"%d\n" % os.getpid()}


def test_an_ended_process_holds_no_pidfile(path: Path) -> None:
    """Even if its parent has not asked for its exit code, and never does, as process 1 of some containers."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    path.write_text(f"{pid}\n")
    file = PidFile(str(path))
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    os.waitpid(pid, 0)


def test_an_heir_may_take_the_file_of_the_process_before_it(path: Path, other: int) -> None:
    path.write_text(f"{other}\n")
    with pytest.raises(UsageError, match="which is running"):
        PidFile(str(path), heir_of=os.getppid()).check()
    assert PidFile(str(path), heir_of=other).check()
    file = PidFile(str(path), heir_of=other)
    file.write()
    assert path.read_text() == f"{os.getpid()}\n"
    file.remove()
    assert not path.exists()
