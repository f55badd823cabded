"""Directories that a deploy switches, moves or removes while the server runs: what reloads and upgrades find."""

import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving, children
from tests.supervisor.test_upgrade import end, pid_in
from tests.wsgi import until

APP = """
import os
import helper
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{helper.NAME} {os.getcwd()}".encode()]
"""
# A directory that is removed while a shell is in it.
REMOVED = ("sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh")


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def release(folder: Path, name: str) -> Path:
    """Make a release of the application that answers with its name and its path."""
    made = folder / "releases" / name
    made.mkdir(parents=True)
    (made / "served.py").write_text(APP)
    (made / "helper.py").write_text(f"NAME = {name!r}\n")
    return made


def switch(link: Path, to: Path) -> None:
    """Have a link lead there, as a deploy does it: in one step."""
    new = link.with_name("new-link")
    new.symlink_to(to)
    new.replace(link)


def started_in(
    directory: Path, *options: str, meant: Path | None = None, bind: str = "127.0.0.1:0"
) -> Serving:
    """Serve from a directory. meant: what its shell calls it."""
    return Serving(directory, APP, *options, more={"PWD": str(meant or directory)}, bind=bind)


def answer(serving: Serving) -> str:
    response = fetch(serving.address)
    assert response.status == 200, serving.lines
    return response.body.decode()


def answers(serving: Serving) -> set[str]:
    """Return what both processes answer."""
    return {answer(serving) for _ in range(20)}


def complete_reload(serving: Serving, number: int = 1) -> None:
    serving.signal(signal.SIGHUP)
    serving.wait_lines("the reload is complete", number)


def see_it_end(serving: Serving) -> None:
    serving.signal(signal.SIGTERM)
    assert serving.exit_code() == 0, serving.lines
    assert not [line for line in serving.lines if "Traceback" in line], serving.lines


def test_reload_after_the_start_directory_was_removed(tmp_path: Path, model: tuple[str, ...]) -> None:
    first, second, link = release(tmp_path, "1"), release(tmp_path, "2"), tmp_path / "current"
    link.symlink_to(first)
    with started_in(first, *model, "--workers", "2", "--chdir", str(link)) as serving:
        serving.wait_line("all 2 processes serve")
        assert answers(serving) == {f"1 {first}"}
        switch(link, second)
        shutil.rmtree(first)
        for number in (1, 2):
            complete_reload(serving, number)
            assert answers(serving) == {f"2 {second}"}
        see_it_end(serving)


@pytest.mark.parametrize("chdir", [(), ("--chdir", ".")], ids=" ".join)
def test_reload_serves_the_target_of_the_link_in_which_it_was_started(
    tmp_path: Path, chdir: tuple[str, ...]
) -> None:
    first, second, link = release(tmp_path, "1"), release(tmp_path, "2"), tmp_path / "current"
    link.symlink_to(first)
    with started_in(link, "--workers", "2", *chdir, meant=link) as serving:
        serving.wait_line("all 2 processes serve")
        switch(link, second)
        os.kill(min(children(serving.process.pid)), signal.SIGKILL)
        until(lambda: len(children(serving.process.pid)) == 2)
        serving.wait_line("replacing it")
        assert answers(serving) == {f"1 {first}"}  # one generation is one release
        shutil.rmtree(first)
        complete_reload(serving)
        assert answers(serving) == {f"2 {second}"}
        see_it_end(serving)


def test_replaced_process_without_its_release_uses_the_present_one(tmp_path: Path) -> None:
    first, second, link = release(tmp_path, "1"), release(tmp_path, "2"), tmp_path / "current"
    link.symlink_to(first)
    with started_in(link, "--workers", "1", meant=link) as serving:
        serving.wait_line("1 process serves")
        switch(link, second)
        shutil.rmtree(first)
        (victim,) = children(serving.process.pid)
        os.kill(victim, signal.SIGKILL)
        assert answer(serving) == f"2 {second}"
        see_it_end(serving)


@pytest.mark.parametrize("hook", ["post-fork", "worker-ready"])
def test_hooks_are_those_of_the_release(tmp_path: Path, hook: str) -> None:
    first, second, link = release(tmp_path, "1"), release(tmp_path, "2"), tmp_path / "current"
    for one in (first, second):
        (one / "hooks.py").write_text(
            "import os, helper\ndef tell(_): os.write(2, f'hook {helper.NAME}\\n'.encode())\n"
        )
    link.symlink_to(first)
    with started_in(link, "--workers", "1", f"--{hook}", "hooks:tell", meant=link) as serving:
        serving.wait_line("hook 1")
        switch(link, second)
        complete_reload(serving)
        serving.wait_line("hook 2")
        assert answer(serving) == f"2 {second}"
        see_it_end(serving)


def test_modules_that_only_the_old_release_has_are_not_found(tmp_path: Path) -> None:
    first, second, link = release(tmp_path, "1"), release(tmp_path, "2"), tmp_path / "current"
    (second / "helper.py").unlink()
    link.symlink_to(first)
    with started_in(link, "--workers", "1", meant=link) as serving:
        serving.wait_line("1 process serves")
        switch(link, second)
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload failed")
        assert [line for line in serving.lines if "No module named 'helper'" in line]
        assert answer(serving) == f"1 {first}"


def test_a_release_that_cannot_be_loaded_does_not_replace_the_old_one(tmp_path: Path) -> None:
    first, second, link = release(tmp_path, "1"), release(tmp_path, "2"), tmp_path / "current"
    link.symlink_to(first)
    with started_in(link, "--workers", "2", meant=link) as serving:
        serving.wait_line("all 2 processes serve")
        (second / "served.py").write_text("raise RuntimeError('half written')")
        switch(link, second)
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload failed")
        os.kill(min(children(serving.process.pid)), signal.SIGKILL)
        serving.wait_line("replacing it")
        until(lambda: len(children(serving.process.pid)) == 2)
        assert answers(serving) == {f"1 {first}"}


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "workers"])
@pytest.mark.parametrize("chdir", [(), ("--chdir", "app"), ("--chdir", "/nowhere")], ids=" ".join)
def test_started_in_a_removed_directory_it_says_so(
    tmp_path: Path, workers: tuple[str, ...], chdir: tuple[str, ...]
) -> None:
    serving = Serving(tmp_path, APP, *workers, *chdir, under=REMOVED)
    try:
        assert serving.exit_code() == 2
        (line,) = serving.lines
        assert "halfsync: " in line and "directory" in line, line
    finally:
        serving.__exit__(None, None, None)


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_started_in_a_removed_directory_it_serves_another(tmp_path: Path, workers: tuple[str, ...]) -> None:
    first = release(tmp_path, "1")
    with Serving(tmp_path, APP, *workers, "--chdir", str(first), under=REMOVED) as serving:
        assert answer(serving) == f"1 {first}"
        if workers:
            (first / "helper.py").write_text("NAME = 'later'\n")
            complete_reload(serving)
            assert answer(serving) == f"later {first}"
        see_it_end(serving)


def test_settings_are_found_in_a_directory_that_was_moved(tmp_path: Path) -> None:
    first, moved = release(tmp_path, "1"), tmp_path / "moved"
    (first / "halfsync.toml").write_text(
        'workers = 1\npidfile = "pid"\nbind = ["127.0.0.1:0", "unix:socket"]\n'
    )
    with started_in(first, bind="") as serving:
        serving.wait_line("1 process serves")
        first.rename(moved)
        text = (moved / "halfsync.toml").read_text()
        (moved / "halfsync.toml").write_text(text.replace("workers = 1", "workers = 2"))
        (moved / "helper.py").write_text("NAME = 'later'\n")
        complete_reload(serving)
        until(lambda: len(children(serving.process.pid)) == 2)
        assert answers(serving) == {f"later {moved}"}
        assert (moved / "pid").exists() and (moved / "socket").exists()
        see_it_end(serving)
        assert not (moved / "socket").exists()


@pytest.mark.parametrize("path", ["socket", "absolute"])
@pytest.mark.parametrize("numbers", [[signal.SIGHUP, signal.SIGUSR2], [signal.SIGUSR2]], ids=["HUP", "USR2"])
def test_a_socket_file_is_made_in_the_target_of_the_link(
    tmp_path: Path, model: tuple[str, ...], path: str, numbers: list[signal.Signals]
) -> None:
    """As the pidfile is. Clients that connected by the old file notice nothing."""
    first, second, link = release(tmp_path, "1"), release(tmp_path, "2"), tmp_path / "current"
    link.symlink_to(first)
    bind = path if path == "socket" else f"{link}/socket"
    options = (
        "--workers",
        "1",
        "--threads",
        "16",
        "--chdir",
        "current",
        "--pidfile",
        "pid",
        "-b",
        f"unix:{bind}",
    )
    with started_in(tmp_path, *model, *options) as serving, socket.socket(socket.AF_UNIX) as made:
        serving.wait_line("1 process serves")
        made.connect(str(first / "socket"))
        with Connection(made, timeout_s=30) as kept:
            switch(link, second)
            for number in numbers:
                old = pid_in(link / "pid") or pid_in(first / "pid")
                os.kill(old, number)
                serving.wait_line(
                    "is the server now" if number == signal.SIGUSR2 else "the reload is complete"
                )
                if number == signal.SIGHUP:
                    serving.wait_line(f"bind is now {serving_url(serving)}, unix:{second}/socket")
                until(lambda: not (first / "socket").exists() and not (first / "pid").exists())
                assert (second / "socket").is_socket() and (second / "pid").exists()
                kept.send(build("/"))
                assert kept.response().body.decode() == f"2 {second}"
            assert serving.process.wait(30) == 0
        shutil.rmtree(first)
        with socket.socket(socket.AF_UNIX) as later:
            later.connect(str(link / "socket"))
        end(pid_in(link / "pid"))
        assert not (second / "socket").exists() and not (second / "pid").exists()


def serving_url(serving: Serving) -> str:
    return "http://{}:{}".format(*serving.address)


@pytest.mark.parametrize("config", [(), ("--config", "halfsync.toml")], ids=["found", "named"])
def test_a_reload_without_the_settings_file_of_a_removed_directory_fails(
    tmp_path: Path, config: tuple[str, ...]
) -> None:
    """Without the file all settings would be the defaults."""
    first, second = release(tmp_path, "1"), release(tmp_path, "2")
    text = f'workers = 2\nchdir = "{second}"\nbind = "127.0.0.1:0"\n'
    (first / "halfsync.toml").write_text(text)
    (second / "halfsync.toml").write_text("threads = 1\n")  # which is not the one that was meant
    with started_in(first, *config, bind="") as serving:
        serving.wait_line("all 2 processes serve")
        own = children(serving.process.pid)
        shutil.rmtree(first)
        for number in (1, 2):
            serving.signal(signal.SIGHUP)
            serving.wait_lines("the reload failed", number)
        assert children(serving.process.pid) == own
        assert answers(serving) == {f"2 {second}"}
        first.mkdir()
        (first / "halfsync.toml").write_text(text)
        complete_reload(serving)
        until(lambda: not own & children(serving.process.pid))
        see_it_end(serving)


@pytest.mark.parametrize("removed", [False, True], ids=["switched", "removed"])
def test_upgrade_begins_in_the_target_of_the_link(tmp_path: Path, removed: bool) -> None:
    first, second, link = release(tmp_path, "1"), release(tmp_path, "2"), tmp_path / "current"
    link.symlink_to(first)
    pidfile = tmp_path / "pid"
    options: tuple[str, ...] = ("--workers", "1", "--pidfile", str(pidfile))
    if removed:
        options += ("--chdir", str(link))
    with started_in(first if removed else link, *options, meant=None if removed else link) as serving:
        serving.wait_line("1 process serves")
        old = pid_in(pidfile)
        switch(link, second)
        if removed:
            shutil.rmtree(first)
        serving.signal(signal.SIGUSR2)
        serving.wait_lines("1 process serves", 2)
        until(lambda: pid_in(pidfile) not in (0, old))
        assert serving.process.wait(30) == 0
        assert answer(serving) == f"2 {second}"
        os.kill(pid_in(pidfile), signal.SIGHUP)
        serving.wait_line("the reload is complete")
        end(pid_in(pidfile))


def test_an_upgrade_that_finds_no_directory_changes_nothing(tmp_path: Path) -> None:
    first = release(tmp_path, "1")
    pidfile = tmp_path / "pid"
    with started_in(first, "--workers", "1", "--pidfile", str(pidfile)) as serving:
        serving.wait_line("1 process serves")
        with Connection(serving.address) as kept:
            kept.send(build("/"))
            assert kept.response().status == 200
            shutil.rmtree(first)
            serving.signal(signal.SIGUSR2)
            serving.wait_line("the upgrade failed: the new program ended with 2")
            until(lambda: pid_in(pidfile) == serving.process.pid)
            serving.signal(signal.SIGHUP)
            serving.wait_line("the reload failed")
        see_it_end(serving)


TABLES = {"halfsync.toml": "", "pyproject.toml": "[tool.halfsync]\n"}


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
@pytest.mark.parametrize("name", TABLES)
def test_a_settings_file_that_is_gone_changes_nothing(tmp_path: Path, name: str, preload: bool) -> None:
    """A deploy may move it for a moment. Without it all settings would be the defaults."""
    first = release(tmp_path, "1")
    file, elsewhere, pidfile = first / name, first / "elsewhere", first / "pid"
    other = first / "pyproject.toml" if name == "halfsync.toml" else None
    file.write_text(
        f'{TABLES[name]}workers = 2\npidfile = "pid"\npreload = {str(preload).lower()}\n'
        'bind = ["127.0.0.1:0", "unix:socket"]\n'
    )
    with started_in(first, bind="") as serving:
        serving.wait_line("all 2 processes serve")
        old = pid_in(pidfile)
        own = children(old)
        file.rename(elsewhere)
        serving.signal(signal.SIGHUP)
        assert f"{name}, which gave the settings, no longer exists" in serving.wait_line("the reload failed")
        serving.signal(signal.SIGUSR2)
        serving.wait_line(f"halfsync: config: {name}, which gave the settings, no longer exists")
        serving.wait_line("the upgrade failed: the new program ended with 2")
        if other is not None:  # which may belong to another program
            other.write_text("[tool.halfsync]\nthreads = 1\n")
            serving.signal(signal.SIGHUP)
            serving.wait_lines("the reload failed", 2)
            serving.signal(signal.SIGUSR2)
            serving.wait_lines("the upgrade failed: the new program ended with 2", 2)
        else:
            file.write_text("[tool.other]\n")
            serving.signal(signal.SIGHUP)
            serving.wait_line(
                f"the reload failed: config: {name}, which gave the settings, no longer has any"
            )
        until(lambda: children(old) == own)  # what has started the new program ends a moment after it
        assert (first / "socket").is_socket() and pid_in(pidfile) == old
        elsewhere.rename(file)
        complete_reload(serving)
        serving.signal(signal.SIGUSR2)
        assert serving.process.wait(30) == 0
        assert answers(serving) == {f"1 {first}"}
        end(pid_in(pidfile))
