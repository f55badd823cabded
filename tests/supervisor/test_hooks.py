"""The hooks of a whole server: in which process each is called, in which order, and what an error in one does."""

import os
import signal
import sys
from pathlib import Path

from tests.client import fetch
from tests.faults.serving import Serving, children
from tests.wsgi import until

APP = """
import os
def app(environ, start_response):
    start_response("200 OK", [])
    return [os.environ.get("GREETING", "none").encode()]
"""
# Each call is a line of a file: the hook, the process in which it runs, and what it was called with.
HOOKS = """
import os
def note(name, about):
    with open("calls", "a") as file:
        place = getattr(about, "number", "-")
        print(name, os.getpid(), about.pid, place, about.generation, file=file)
def on_starting(server): note("on_starting", server)
def when_ready(server): note("when_ready", server)
def on_reload(server):
    note("on_reload", server)
    if os.path.exists("refuse"):
        raise RuntimeError("not now")
def pre_fork(server, worker): note("pre_fork", worker)
def post_fork(worker): note("post_fork", worker)
def worker_exit(server, worker): note("worker_exit", worker)
def child_exit(server, worker):
    note("child_exit", worker)
    server.log.info("process %d is gone", worker.pid)
def fail(about): raise RuntimeError("no luck")
"""
ALL = (
    "on_starting", "when_ready", "on_reload", "pre_fork", "post_fork", "worker_exit", "child_exit",
)  # fmt: skip


def options(*names: str, function: str = "") -> list[str]:
    return [
        part
        for name in names
        for part in (f"--{name.replace('_', '-')}", f"hooks.conf.py:{function or name}")
    ]


def calls(tmp_path: Path) -> list[tuple[str, ...]]:
    return [tuple(line.split()) for line in (tmp_path / "calls").read_text().splitlines()]


def test_each_is_called_in_its_process_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "hooks.conf.py").write_text(HOOKS)
    with Serving(tmp_path, APP, "--workers", "1", *options(*ALL)) as serving:
        serving.wait_line("1 process serves")
        supervisor = str(serving.process.pid)
        (old,) = map(str, children(serving.process.pid))
        until(lambda: len(calls(tmp_path)) == 4)
        assert calls(tmp_path) == [
            ("on_starting", supervisor, supervisor, "-", "1"),
            ("pre_fork", supervisor, "0", "1", "1"),
            ("post_fork", old, old, "1", "1"),
            ("when_ready", supervisor, supervisor, "-", "1"),
        ]
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        serving.wait_line(f"process {old} is gone")
        assert ("on_reload", supervisor, supervisor, "-", "1") == calls(tmp_path)[4]
        (new,) = map(str, children(serving.process.pid))
        after = calls(tmp_path)[5:]
        assert after[:2] == [("pre_fork", supervisor, "0", "1", "2"), ("post_fork", new, new, "1", "2")]
        assert after[2:] == [("worker_exit", old, old, "1", "1"), ("child_exit", supervisor, old, "1", "1")]
        os.kill(int(new), signal.SIGKILL)  # a process that is killed has an exit, too
        serving.wait_line(f"process {new} is gone")
        assert ("child_exit", supervisor, new, "1", "2") in calls(tmp_path)


def test_a_reload_that_its_hook_refuses_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "hooks.conf.py").write_text(HOOKS)
    (tmp_path / "halfsync.toml").write_text('env = ["GREETING=first"]\n')
    with Serving(tmp_path, APP, "--workers", "1", *options("on_reload")) as serving:
        serving.wait_line("1 process serves")
        before = children(serving.process.pid)
        (tmp_path / "refuse").touch()
        (tmp_path / "halfsync.toml").write_text('env = ["GREETING=second"]\n')
        serving.signal(signal.SIGHUP)
        assert "on_reload hooks.conf.py:on_reload: the settings are not used" in serving.wait_line(
            "the reload failed"
        )
        assert [line for line in serving.lines if "RuntimeError: not now" in line]
        assert children(serving.process.pid) == before
        assert fetch(serving.address, "/").body == b"first"
        (tmp_path / "refuse").unlink()
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        assert fetch(serving.address, "/").body == b"second"


def test_variables_that_are_no_longer_given_are_gone_after_a_reload(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GREETING=from a file\n")
    (tmp_path / "halfsync.toml").write_text('env_file = ".env"\n')
    with Serving(tmp_path, APP, "--workers", "1") as serving:
        serving.wait_line("1 process serves")
        assert fetch(serving.address, "/").body == b"from a file"
        (tmp_path / "halfsync.toml").write_text("threads = 2\n")
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        assert fetch(serving.address, "/").body == b"none"


def end(tmp_path: Path, *names: str) -> tuple[int, list[str]]:
    """Start a server with hooks that fail, and return its exit code and its log."""
    (tmp_path / "hooks.conf.py").write_text(HOOKS)
    serving = Serving(tmp_path, APP, "--workers", "1", *options(*names, function="fail"))
    try:
        return serving.exit_code(), serving.lines
    finally:
        serving.__exit__(None, None, None)


def test_a_hook_that_fails_before_the_start_ends_it(tmp_path: Path) -> None:
    code, lines = end(tmp_path, "on_starting")
    assert code == 3
    assert "on_starting hooks.conf.py:fail: the server does not start: its hook failed" in lines[-1]
    assert [line for line in lines if "RuntimeError: no luck" in line]


def test_a_hook_that_fails_before_the_first_fork_ends_the_start(tmp_path: Path) -> None:
    code, lines = end(tmp_path, "pre_fork")
    assert code == 3
    assert [line for line in lines if "worker 1 is not started: its hook failed" in line]


def test_other_hooks_that_fail_are_logged(tmp_path: Path) -> None:
    (tmp_path / "hooks.conf.py").write_text(HOOKS)
    names = ("when_ready", "child_exit")
    with Serving(tmp_path, APP, "--workers", "1", *options(*names, function="fail")) as serving:
        serving.wait_line("the hook when_ready failed: hooks.conf.py:fail")
        serving.wait_line("1 process serves")
        (pid,) = children(serving.process.pid)
        os.kill(pid, signal.SIGKILL)
        serving.wait_line("the hook child_exit failed for worker 1: hooks.conf.py:fail")
        until(lambda: bool(children(serving.process.pid) - {pid}))
        assert fetch(serving.address, "/").status == 200


def test_a_hook_that_is_missing_is_found_before_anything_is_opened(tmp_path: Path) -> None:
    serving = Serving(tmp_path, APP, "--workers", "1", "--child-exit", "gone:hook")
    try:
        assert serving.exit_code() == 3
        assert "child_exit gone:hook: no module named 'gone'" in serving.lines[-1]
    finally:
        serving.__exit__(None, None, None)


def test_an_upgrade_begins_with_the_environment_of_the_first_program(tmp_path: Path) -> None:
    (tmp_path / "halfsync.toml").write_text("pidfile = 'pid'\n[env]\nGREETING = 'first'\n")
    with Serving(tmp_path, APP, "--workers", "1") as serving:
        serving.wait_line("1 process serves")
        assert fetch(serving.address, "/").body == b"first"
        (tmp_path / "halfsync.toml").write_text("pidfile = 'pid'\n")
        serving.signal(signal.SIGUSR2)
        serving.wait_line("this program is the server now")
        until(lambda: fetch(serving.address, "/").body == b"none")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)


def test_a_lone_server_has_its_environment_and_its_paths(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "beside.py").write_text(APP)
    settings = ["wsgi_app = 'beside:app'", "pythonpath = ['more']", "[env]", "GREETING = 'hello, world'"]
    (tmp_path / "halfsync.toml").write_text("\n".join(settings))
    command = [sys.executable, "-m", "halfsync", "serve", "-b", "127.0.0.1:0"]
    with Serving(tmp_path, "", command=command) as serving:
        assert "halfsync" in serving.wait_line("serves beside:app")
        assert fetch(serving.address, "/").body == b"hello, world"


def test_other_files_and_directories_are_watched(tmp_path: Path) -> None:
    for name in ("templates", "elsewhere"):
        (tmp_path / name).mkdir()
    given = [
        "--reload",
        "--reload-dir",
        "templates",
        "--reload-dir",
        "elsewhere",
        "--reload-include",
        "*.html",
    ]
    with Serving(tmp_path, APP, *given) as serving:
        serving.wait_line("1 process serves")

        def change_until_seen() -> bool:  # what changes before it is watched is not seen
            (tmp_path / "elsewhere" / "a.css").touch()  # of no interest
            (tmp_path / "elsewhere" / "a.html").touch()
            return any("reloading: " in line for line in serving.lines)

        until(change_until_seen)
        assert "a.css" not in serving.wait_line("reloading: ")
        serving.wait_line("a.html changed")
        serving.wait_line("the reload is complete")


def test_a_directory_to_watch_must_exist(tmp_path: Path) -> None:
    serving = Serving(tmp_path, APP, "--reload", "--reload-dir", "gone")
    try:
        assert serving.exit_code() == 2
        assert "--reload-dir: there is no directory gone" in serving.lines[-1]
    finally:
        serving.__exit__(None, None, None)
