"""What `reload` adds to a supervisor: when it logs a change, and what happens to its watcher."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.native.system import readable
from halfsync.supervisor.development.child import Development
from halfsync.supervisor.development.watching import Scope

WAIT_S = 20.0


@pytest.fixture
def development(tmp_path: Path) -> Iterator[Development]:
    """Return one for an empty folder, whose watcher is not started."""
    made = Development(Scope((str(tmp_path),)), [])
    yield made
    made.close()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged since this was last asked."""
    said = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return said


def test_change_is_reported_once_no_process_serves_old_code(
    development: Development, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    development.announce("a.py", [1, 2, 3])
    development.quiesced(1)
    development.ended(2)
    assert lines(caplog) == []
    development.announce("b.py", [1, 3, 4])  # 1 has left already
    development.quiesced(3)
    assert lines(caplog) == []
    development.ended(4)
    assert lines(caplog) == ["reloading: a.py changed", "reloading: b.py changed"]
    development.ended(1)
    development.announce("c.py", [1])  # a number that is used again
    assert lines(caplog) == []
    development.quiesced(1)
    development.announce("d.py", [])
    assert lines(caplog) == ["reloading: c.py changed", "reloading: d.py changed"]


def test_watcher_reports_changes_and_is_ended(development: Development, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    development.keep_watching(lambda: None)
    while not (changed := development.changed()):
        (tmp_path / "a.py").touch()  # again, since it is unknown when the watcher begins
        readable(development.fds, 0.05)
    assert changed == "a.py"
    pid = development._pid
    development.close()
    assert not Path(f"/proc/{pid}").exists()
    development.close()


def test_watcher_that_ends_at_once_is_not_started_again(
    development: Development, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halfsync.supervisor.development.child.watch", fail)
    development.keep_watching(lambda: None)
    pid = development._pid
    assert readable(development.fds, WAIT_S) and development.changed() == ""
    _, status = os.waitpid(pid, 0)
    assert not development.reaped(1, 0)
    assert not development.reaped(pid, os.waitstatus_to_exitcode(status))
    assert lines(caplog) == [
        "source changes are no longer noticed: the watcher ended with 1; SIGHUP still reloads"
    ]
    development.keep_watching(lambda: None)
    assert development._pid == 0 and development.fds == []


def test_watcher_that_has_lived_is_started_again(
    development: Development, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halfsync.supervisor.development.child.STABLE_S", 0.0)
    development.keep_watching(lambda: None)
    pid = development._pid
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    assert development.reaped(pid, -9)
    development.keep_watching(lambda: None)
    assert development._pid not in (0, pid)


def fail(*_: object) -> None:
    raise OSError("no more watches")
