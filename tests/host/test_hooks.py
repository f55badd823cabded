"""Hooks: their argument, and what happens at an error."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.errors import LoadError
from halfsync.host.hooks import (
    HOOKS,
    IN_SUPERVISOR,
    OF_SERVER,
    SupervisorInfo,
    Worker,
    call_hook,
    check_hooks,
)
from halfsync.settings import Settings

WORKER = Worker(2, os.getpid(), 3)
MODULE = """
import sys
called = []
text = "no function"
class Shop:
    @staticmethod
    def ready(worker):
        called.append(("ready", worker.number, worker.pid, worker.generation))
def note(worker):
    called.append(worker)
def fail(worker):
    raise ValueError("no database")
def leave(worker):
    sys.exit(5)
def interrupt(worker):
    raise KeyboardInterrupt
def without():
    pass
def three(server, worker, more):
    pass
def both(server, worker):
    called.append((server.pid, worker))
    server.log.info("of %s", worker.pid)
def server(server):
    called.append(server)
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "hooked.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in ("hooked", "broken"):
        sys.modules.pop(name, None)


OF_WORKER = [name for name in HOOKS if name not in OF_SERVER]
SERVER = SupervisorInfo(os.getpid(), 2)


@pytest.mark.parametrize("name", OF_WORKER)
def test_a_hook_gets_its_worker(name: str) -> None:
    call_hook(name, Settings.from_options(**{name: "hooked:note"}), WORKER)
    call_hook(name, Settings.from_options(**{name: "hooked:Shop.ready"}), WORKER)
    assert sys.modules["hooked"].called == [WORKER, ("ready", 2, os.getpid(), 3)]


def test_only_the_one_that_was_called_for_is_called() -> None:
    settings = Settings.from_options(post_fork="hooked:note", worker_exit="hooked:fail")
    call_hook("worker_ready", settings, WORKER)
    assert "hooked" not in sys.modules


@pytest.mark.parametrize("name", OF_WORKER)
def test_a_hook_of_gunicorns_shape_gets_the_server_too(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "halfsync"):
        call_hook(name, Settings.from_options(**{name: "hooked:both"}), WORKER)
    pid = os.getpid() if name in IN_SUPERVISOR else os.getppid()
    assert sys.modules["hooked"].called == [(pid, WORKER)]
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("halfsync.hooks", f"of {WORKER.pid}")
    ]


@pytest.mark.parametrize("name", OF_SERVER)
def test_a_hook_about_the_server_gets_it(name: str) -> None:
    call_hook(name, Settings.from_options(**{name: "hooked:server"}), SERVER)
    assert sys.modules["hooked"].called == [SERVER]


def test_a_hook_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "gunicorn.conf.py").write_text(MODULE)
    for _ in range(2):
        call_hook("post_fork", Settings.from_options(post_fork="gunicorn.conf.py:note"), WORKER)
    module = sys.modules.pop(str(Path("gunicorn.conf.py").resolve()))
    assert module.called == [WORKER, WORKER]  # the file was run once


@pytest.mark.parametrize("name", ["when_ready", "child_exit"])
def test_an_error_in_the_supervisor_is_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    about = SERVER if name in OF_SERVER else WORKER
    call_hook(name, Settings.from_options(**{name: "hooked:fail"}), about)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"the hook {name} failed")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("on_starting", "on_starting hooked:fail: the server does not start: its hook failed"),
        ("on_reload", "on_reload hooked:fail: the settings are not used: its hook failed"),
        ("pre_fork", "pre_fork hooked:fail: worker 2 is not started: its hook failed"),
    ],
)
def test_an_error_before_something_keeps_it_from_being_done(
    name: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LoadError) as caught:
        call_hook(
            name, Settings.from_options(**{name: "hooked:fail"}), SERVER if name in OF_SERVER else WORKER
        )
    assert str(caught.value) == f"{said}; the log above shows why"
    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", ["worker_ready", "worker_exit"])
@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("hooked:fail", "ValueError: no database"),
        ("hooked:leave", "SystemExit: 5"),
        ("hooked:absent", "hooked has no attribute 'absent'"),
        ("broken:hook", "ZeroDivisionError"),
    ],
)
def test_an_error_is_logged_and_not_passed_on(
    name: str, hook: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    call_hook(name, Settings.from_options(**{name: hook}), WORKER)
    assert said in caplog.text
    assert len(caplog.records) == 1
    if hook.startswith("hooked:") and "absent" not in hook:
        assert f"the hook {name} failed in worker 2: {hook}" in caplog.text
        assert "in fail" in caplog.text or "in leave" in caplog.text


@pytest.mark.parametrize("hook", ["hooked:fail", "hooked:leave", "hooked:absent", "broken:hook"])
def test_a_process_whose_first_hook_failed_does_not_serve(
    hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(LoadError) as caught:
        call_hook("post_fork", Settings.from_options(post_fork=hook), WORKER)
    assert str(caught.value) == (
        f"post_fork {hook}: worker 2 does not serve: its hook failed; the log above shows why"
    )
    assert caught.value.exit_code == 3
    assert len(caplog.records) == 1


def test_an_interrupt_of_a_process_that_loads_passes(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        call_hook("post_fork", Settings.from_options(post_fork="hooked:interrupt"), WORKER)
    assert not caplog.records


@pytest.mark.parametrize("name", ["worker_ready", "worker_exit"])
def test_an_interrupt_does_not_end_a_process_that_serves(name: str, caplog: pytest.LogCaptureFixture) -> None:
    call_hook(name, Settings.from_options(**{name: "hooked:interrupt"}), WORKER)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("gone:hook", "worker_exit gone:hook: no module named 'gone' in "),
        ("hooked:notes", "worker_exit hooked:notes: hooked has no attribute 'notes'; did you mean 'note'?"),
        ("hooked:text", "worker_exit hooked:text: 'text' is of type str, which cannot be called; name a function"),
        ("hooked:without", "worker_exit hooked:without: 'without' cannot be called with one argument: too many"),
        ("hooked:three", "worker_exit hooked:three: 'three' cannot be called with one argument: missing a required"),
        ("gone.py:hook", "worker_exit gone.py:hook: there is no file "),
        ("broken.py:hook", "worker_exit broken.py:hook: running broken.py failed: ZeroDivisionError"),
        ("broken:hook", "worker_exit broken:hook: importing broken failed: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_is_found_early(hook: str, said: str) -> None:
    with pytest.raises(LoadError) as caught:
        check_hooks(Settings.from_options(worker_exit=hook))
    assert str(caught.value).startswith(said)
    assert ("1 / 0" in caught.value.traceback) is hook.startswith("broken")


def test_a_callable_is_returned_unchanged() -> None:
    check_hooks(Settings.from_options())
    check_hooks(Settings.from_options(post_fork="hooked:fail", worker_ready="builtins:print"))
    assert sys.modules["hooked"].called == []
