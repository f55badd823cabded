"""A reload with other settings: when each takes effect, and that a failed reload changes nothing."""

import json
import os
import pwd
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from halfsync.settings import SETTINGS
from halfsync.settings.setting import AT_START, OPEN_SOCKETS
from tests.client import Connection, build, fetch
from tests.faults.serving import Serving, children
from tests.wsgi import until

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")

APP = """
import json, os, signal, time
os.write(2, b"loading\\n")
if os.path.exists("hang"):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.write(2, b"hanging\\n")
    while True:
        time.sleep(1)
if os.path.exists("raise"):
    raise RuntimeError("of the application")
def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        os.write(2, f"begun in {os.getpid()}\\n".encode())
    while environ["PATH_INFO"] == "/slow" and not os.path.exists("go"):
        time.sleep(0.005)
    mask = os.umask(0o022)
    os.umask(mask)
    body = json.dumps({"umask": mask, "user": os.getuid(), "group": os.getgid(), "pid": os.getpid()}).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""
OLD = {"workers": 4, "boot_timeout": "60s", "graceful_timeout": "60s"}


class Reloading(Serving):
    """A server whose settings are in a file, with a reload for each change of them."""

    def __init__(self, directory: Path, *options: str, **values: object) -> None:
        self.directory = directory
        self.configure(**OLD | values)
        super().__init__(directory, APP, *options)

    def configure(self, **values: object) -> None:
        """Write the file of settings."""
        lines = [
            f"{name} = {str(value).lower() if isinstance(value, bool) else value!r}\n"
            for name, value in values.items()
        ]
        (self.directory / "halfsync.toml").write_text("".join(lines))

    def reload(self, **values: object) -> None:
        """Reload with these settings beside those of the start, and wait until that is complete."""
        self.configure(**OLD | values)
        self.hup("the reload is complete")

    def hup(self, line: str) -> str:
        """Send the signal, and return the line of the log that follows with this part."""
        before = sum(line in one for one in self.lines)
        self.signal(signal.SIGHUP)
        self.wait_lines(line, before + 1)
        return [one for one in self.lines if line in one][-1]

    def processes(self) -> set[int]:
        return children(self.process.pid)


@pytest.fixture
def public_path() -> Iterator[Path]:
    """Return a directory that any user may enter."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


def told(serving: Serving) -> dict[str, int]:
    """Return what a process reports about itself."""
    response = fetch(serving.address)
    assert response.status == 200
    return dict[str, int](json.loads(response.body))


@pytest.mark.parametrize("device", ["", "/dev/full", "/dev/zero"])
def test_a_file_of_settings_that_cannot_be_read_to_its_end_fails_the_reload(
    tmp_path: Path, device: str
) -> None:
    """It is a pipe without a writer, or a device. The supervisor does not wait for it, and handles the next signal."""
    with Reloading(tmp_path) as serving:
        serving.wait_line("all 4 processes serve")
        before = serving.processes()
        (tmp_path / "halfsync.toml").unlink()
        if device:
            (tmp_path / "halfsync.toml").symlink_to(device)
        else:
            os.mkfifo(tmp_path / "halfsync.toml")
        assert serving.hup("halfsync.toml is not a regular file").count("the old processes keep serving") == 1
        assert serving.processes() == before
        (tmp_path / "halfsync.toml").unlink()
        serving.reload(threads=2)
        until(lambda: not serving.processes() & before)
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


@pytest.mark.parametrize("why", ["raise", "hang", "user", "setting", "bind"])
def test_failed_reload_changes_nothing(tmp_path: Path, why: str) -> None:
    """Not the number of processes, the pidfile or the sockets; nor does the next reload see anything of it."""
    pidfile, other, unix = tmp_path / "pid", tmp_path / "other", tmp_path / "new.sock"
    with ExitStack() as stack, Reloading(tmp_path, pidfile=str(pidfile)) as serving:
        serving.wait_line("all 4 processes serve")
        before = serving.processes()
        mask = told(serving)["umask"]
        changed: dict[str, object] = {
            "workers": 1, "pidfile": str(other), "umask": "0123", "boot_timeout": "1s", "log_level": "error",
            "admin_bind": [f"unix:{unix}"],
        }  # fmt: skip
        if why in ("raise", "hang"):
            (tmp_path / why).touch()
        elif why == "user":
            changed["user"] = "nobody-has-this-name"
        elif why == "setting":
            changed["workres"] = 3
        else:
            taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            changed["admin_bind"] = [f"unix:{unix}", f"127.0.0.1:{taken.getsockname()[1]}"]
        for number in (1, 2):
            serving.configure(**OLD | changed)
            line = serving.hup("the reload failed")
            if why == "user":
                assert "there is no user 'nobody-has-this-name'" in line
            elif why == "hang":
                assert "was not ready within 1 s" in line
                assert serving.lines.count("hanging") == number  # it is not started again while it dies
        for name in ("raise", "hang"):
            (tmp_path / name).unlink(missing_ok=True)
        until(lambda: serving.processes() == before)
        until(lambda: not unix.exists())
        assert pidfile.read_text() == f"{serving.process.pid}\n" and not other.exists()
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(serving.processes() - before) == 1 and len(serving.processes()) == 4)
        assert {told(serving)["umask"] for _ in range(20)} == {mask}
        serving.reload(pidfile=str(pidfile))
        until(lambda: len(serving.processes()) == 4 and not before & serving.processes())
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


def test_settings_that_a_reload_applies_in_the_supervisor(tmp_path: Path) -> None:
    first, second = tmp_path / "first.pid", tmp_path / "second.pid"
    with Reloading(tmp_path, pidfile=str(first), umask="0027") as serving:
        serving.wait_line("all 4 processes serve")
        own = f"{serving.process.pid}\n"
        first_ones = serving.processes()
        serving.configure(**OLD | {"pidfile": str(first), "log_level": "warning"})
        serving.signal(signal.SIGHUP)
        until(lambda: not first_ones & serving.processes())
        assert not [line for line in serving.lines if "the reload is complete" in line]
        serving.configure(
            **OLD | {"workers": 2, "pidfile": str(second), "umask": "0007", "log_level": "info"}
        )
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete: all 2 processes serve")
        assert second.read_text() == own and not first.exists()
        serving.wait_line(f"the pidfile is {second}")
        assert told(serving)["umask"] == 0o007
        second.unlink()
        serving.reload(pidfile=str(second))
        assert second.read_text() == own  # it had been removed
        serving.reload(umask="0027")
        assert not second.exists()
        serving.wait_line(f"the pidfile is no longer set; it was {second}")
        assert told(serving)["umask"] == 0o027
        before = os.umask(0o022)
        os.umask(before)
        serving.reload()
        assert told(serving)["umask"] == before
        (tmp_path / "taken").write_text("1\n")
        serving.configure(**OLD | {"pidfile": str(tmp_path / "taken")})
        assert "belongs to process 1" in serving.hup("the reload failed")


@as_root
def test_user_and_group_are_those_of_the_settings(public_path: Path) -> None:
    with Reloading(public_path, workers=2) as serving:
        assert (told(serving)["user"], told(serving)["group"]) == (0, 0)
        for user, group in ((54321, 54322), (54323, 54324), (0, 0)):
            serving.reload(workers=2, user=str(user), group=str(group))
            assert (told(serving)["user"], told(serving)["group"]) == (user, group)
        serving.reload(workers=2, user="nobody")
        assert told(serving)["user"] == pwd.getpwnam("nobody").pw_uid
        serving.configure(**OLD | {"user": "54321"})
        assert "its group is unknown" in serving.hup("the reload failed")
        assert told(serving)["user"] == pwd.getpwnam("nobody").pw_uid


def test_settings_that_a_reload_cannot_apply_are_named(tmp_path: Path) -> None:
    unix = tmp_path / "s"
    values: dict[str, object] = {"workers": 1, "admin_bind": [f"unix:{unix}"]}
    with Reloading(tmp_path, **values) as serving:
        serving.wait_line("1 process serves")
        values |= {"backlog": 100, "unix_mode": "0600", "preload": True, "unix_owner": str(os.getuid())}
        for number in (1, 2):
            serving.reload(**values)
            for name in ("backlog", "unix_mode", "unix_owner"):
                assert sum(f"{name} has changed: {OPEN_SOCKETS}" in line for line in serving.lines) == 1
            assert sum(f"preload has changed: {AT_START}" in line for line in serving.lines) == number
        assert serving.lines.count("loading") == 3  # it was not preloaded
        assert not [line for line in serving.lines if "reload keeps the preloaded code" in line]


def test_a_number_of_processes_that_is_no_longer_set_stays_and_is_logged(tmp_path: Path) -> None:
    with Reloading(tmp_path, workers=2) as serving:
        serving.wait_line("all 2 processes serve")
        serving.configure(boot_timeout="60s")
        serving.hup("the reload is complete: all 2 processes serve")
        assert "workers is no longer set, and stays 2" in serving.hup("workers is no longer set")
        serving.wait_lines("the reload is complete", 2)
        serving.reload(workers=1)
        until(lambda: len(serving.processes()) == 1)
        assert sum("workers is no longer set" in line for line in serving.lines) == 2


def test_every_setting_is_applied_by_a_reload_or_says_what_becomes_of_it() -> None:
    """Whoever adds a setting decides: is it read from the plan of a generation, or is it used at the start only?"""
    assert {one.name for one in SETTINGS if one.reload} == {
        "backlog",
        "unix_mode",
        "unix_owner",
        "preload",
        "reload",
        "reload_dir",
        "reload_exclude",
        "reload_include",
        "on_starting",
    }


def test_what_preloaded_code_was_loaded_with_stays(tmp_path: Path) -> None:
    with Reloading(tmp_path, "--preload", workers=1) as serving:
        serving.wait_line("1 process serves")
        serving.reload(workers=1, stream=True)
        assert sum(f"stream has changed: {AT_START}" in line for line in serving.lines) == 1
        assert told(serving)["user"] == os.getuid()


@pytest.mark.parametrize("leaving", [8, 32])
def test_only_process_that_serves_is_replaced_while_many_hand_off(tmp_path: Path, leaving: int) -> None:
    with ExitStack() as stack, Reloading(tmp_path, workers=leaving, model="thread") as serving:
        serving.wait_line(f"all {leaving} processes serve")
        old = serving.processes()
        slow: list[Connection] = []
        while not all(f"begun in {pid}" in serving.lines for pid in old):
            slow.append(stack.enter_context(Connection(serving.address, timeout_s=60)))
            slow[-1].send(build("/slow"))
            serving.wait_lines("begun in", len(slow))
        serving.reload(workers=1, model="thread")
        (first,) = serving.processes() - old
        assert told(serving)["pid"] == first
        assert len(serving.processes()) == leaving + 1
        os.kill(first, signal.SIGKILL)
        serving.wait_line(f"process {first} was killed by signal 9")
        assert told(serving)["pid"] not in (first, *old)
        assert len(serving.processes()) == leaving + 1
        (tmp_path / "go").touch()
        for connection in slow:
            assert connection.response().status == 200
        until(lambda: len(serving.processes()) == 1)


@pytest.mark.parametrize("end", ["reload", "term"])
def test_boot_that_blocks_signals_delays_nothing(tmp_path: Path, end: str) -> None:
    with Reloading(tmp_path, workers=2) as serving:
        serving.wait_line("all 2 processes serve")
        (tmp_path / "hang").touch()
        serving.signal(signal.SIGHUP)
        serving.wait_line("hanging")
        if end == "reload":
            hung = serving.processes()
            serving.configure(**OLD | {"workers": 2, "boot_timeout": "1s"})
            assert "was not ready within 1 s" in serving.hup("the reload failed")
            (tmp_path / "hang").unlink()
            serving.reload(workers=2)
            until(lambda: len(serving.processes()) == 2 and not hung & serving.processes())
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
