"""The units of docs/deploy under a real systemd: process 1 of a namespace of its own, with a /run of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.client import Connection, build
from tests.faults.load import APP, Load
from tests.faults.serving import EXIT_TIMEOUT_S, children
from tests.sharing import foreign_environment, own_environment, processes
from tests.wsgi import until

import halfsync

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
UNITS = ("halfsync.service", "halfsync.socket")
SYSTEMD = Path("/lib/systemd/systemd")
NAMESPACES = (
    "unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts", "--ipc", "--cgroup",
)  # fmt: skip
LISTENING = "00010000"  # a flag, as the kernel writes it
BETWEEN = 20  # requests that are answered between two events, at least
WATCHDOG_S = 2

# The directories that the units use. They must not see the real /tmp and /home.
PREPARE = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/lock
mount -t tmpfs tmpfs /etc/systemd/system
cp -r "$1"/units/* /etc/systemd/system
mount -t tmpfs tmpfs /opt
mkdir /opt/shop
mount --bind "$1/shop" /opt/shop
mount --bind "$2" /opt/shop/site
mount --bind "$3" /opt/shop/python
exec env -i container=test PATH="$PATH" "$4" --system --unit=try.target --log-target=console --show-status=no
"""
TARGET = "[Unit]\nDefaultDependencies=no\nRequires=halfsync.socket\nAfter=halfsync.socket\n"
# No other unit of the system is wanted. The user is one that every machine has.
OWN = f"""
[Unit]
DefaultDependencies=no
[Service]
User=nobody
Group=nogroup
WatchdogSec={WATCHDOG_S}s
StandardError=append:/opt/shop/log
"""
PROGRAM = """#!/bin/sh
export PYTHONPATH=/opt/shop/site PYTHONHOME=/opt/shop/python LD_LIBRARY_PATH=/opt/shop/python/lib
"""
# What the load asks for; and "/long" takes until there is a file "go".
APPLICATION = (
    APP.replace("def app(", "def loaded(")
    + """
import sys, time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/long":
        print("begun", file=sys.stderr)
        while not os.path.exists("go"):
            time.sleep(0.005)
    return loaded(environ, start_response)
"""
)


class System:
    """A systemd, as a context manager, whose only units are those of the documentation."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        shop, units = folder / "shop", folder / "units"
        for made in ("shop", "site", "python", "venv/bin"):
            (shop / made).mkdir(parents=True)
        for name in UNITS:
            (units / f"{name}.d").mkdir(parents=True)
            shutil.copy(FOLDER / name, units)
        (shop / "shop" / "wsgi.py").write_text(APPLICATION)
        program = shop / "venv" / "bin" / "halfsync"
        exports = "".join(f"export {name}='{value}'\n" for name, value in own_environment().items())
        python = Path(sys.executable).resolve().name
        program.write_text(f'{PROGRAM}{exports}exec /opt/shop/python/bin/{python} -m halfsync "$@"\n')
        program.chmod(0o755)
        (units / "try.target").write_text(TARGET)
        (units / "halfsync.service.d" / "own.conf").write_text(OWN)
        (units / "halfsync.socket.d" / "own.conf").write_text("[Unit]\nDefaultDependencies=no\n")
        self._shop, self._log = shop, folder / "systemd.log"
        (shop / "log").touch()
        site = Path(halfsync.__file__).parent.parent
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*NAMESPACES, "/bin/sh", "-c", PREPARE, "sh", str(folder), str(site), sys.base_prefix, str(SYSTEMD)],
                stdout=log, stderr=log, env=foreign_environment(),
            )  # fmt: skip

    def __enter__(self) -> "System":
        try:
            until(lambda: self._process.poll() is not None or self._path("systemd/private").exists())
            if self._process.poll() is not None:
                pytest.skip(f"systemd cannot run here: {self._log.read_text()}")
            until(lambda: self._path("halfsync.sock").exists())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._process.kill()  # and so everything in the namespace
        self._process.wait(EXIT_TIMEOUT_S)
        for path in (self._log, self._shop / "log"):
            print(path.read_text(errors="replace"))

    def _pid(self) -> int:
        (pid,) = children(self._process.pid)
        return pid

    def _path(self, name: str) -> Path:
        """Return the path of a file of its /run from here; while there is no process 1, a path that does not exist."""
        first = children(self._process.pid)
        return Path(f"/proc/{min(first, default=0)}/root/run/{name}")

    def connect(self) -> socket.socket:
        """Return a connection to the socket unit."""
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(self._path("halfsync.sock")))
        return made

    def systemctl(self, *arguments: str) -> str:
        """Run systemctl in the namespace, and return what it prints."""
        command = ["nsenter", "-t", str(self._pid()), "-m", "-p", "systemctl", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=foreign_environment())
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, name: str) -> str:
        """Return a property of the service."""
        return self.systemctl("show", "halfsync.service", "--value", "-p", name)

    def main_pid(self) -> int:
        """Return the pid of the service, in our own namespace."""
        inside = self.show("MainPID")
        pids = [pid for pid in processes(self._pid()) if number_inside(pid) == inside]
        assert len(pids) == 1
        return pids[0]

    def listens(self) -> bool:
        """Tell whether a process of the service still accepts: the socket itself is systemd's, and stays."""
        lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
        (inode,) = [line[6] for line in lines if line[3] == LISTENING and line[-1] == "/run/halfsync.sock"]
        held = [link for pid in children(self.main_pid()) for link in descriptors(pid)]
        return f"socket:[{inode}]" in held

    def wait_log(self, part: str, number: int = 1) -> None:
        """Wait until the service has said something so many times."""
        until(lambda: (self._shop / "log").read_text().count(part) >= number)

    def go(self) -> None:
        """Let what takes long end."""
        (self._shop / "go").touch()


def descriptors(pid: int) -> Iterator[str]:
    """Tell what each descriptor of a process leads to."""
    with suppress(OSError):  # it may close some
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                yield str(entry.readlink())


def number_inside(pid: int) -> str:
    """Return the number that a process has in its own namespace."""
    status = Path(f"/proc/{pid}/status").read_text()
    (number,) = re.findall(r"^NSpid:.*\t(\d+)$", status, re.MULTILINE)
    return str(number)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Return a systemd with the units, of which the socket is active."""
    if not SYSTEMD.exists() or os.getuid() != 0:
        pytest.skip("systemd is not installed, or we are not root and cannot run it")
    with System(tmp_path) as made:
        yield made


def answered(system: System) -> bool:
    with Connection(system.connect()) as connection:
        connection.send(build("/small"))
        return connection.response().body == b"small"


def test_the_first_request_starts_the_service(system: System) -> None:
    assert system.show("ActiveState") == "inactive"
    assert answered(system)
    until(lambda: system.show("ActiveState") == "active")
    until(lambda: re.search(r"1 process serves|processes serve", system.show("StatusText")))
    assert Path(f"/proc/{system.main_pid()}").owner() == "nobody"


def test_reload_and_restart_cost_no_request(system: System) -> None:
    assert answered(system)
    until(lambda: system.show("ActiveState") == "active")  # else there is nothing to reload yet
    with Load(system.connect, keeping=0, closing=4) as load:
        for number in (1, 2):
            load.wait_answers(BETWEEN)
            system.systemctl("reload", "halfsync.service")
            system.wait_log("the reload is complete", number)
            load.wait_answers(BETWEEN)
            before = system.show("MainPID")
            system.systemctl("restart", "halfsync.service")
            assert system.show("MainPID") != before
        load.wait_answers(BETWEEN)
    assert not load.tally.failures, load.tally.reasons()
    assert (system.show("ActiveState"), system.show("NRestarts")) == ("active", "0")


def wait_fed(system: System, seconds: float) -> None:
    """Wait until systemd gets a watchdog message, and another one after this time."""

    def heard_at() -> float:
        return int(system.show("WatchdogTimestampMonotonic")) / 1e6

    since = heard_at()
    until(lambda: heard_at() > since + seconds, 60)


def wait_upgraded(system: System, before: str, old: int) -> None:
    """Wait until another program is the service, and the old one is gone."""
    until(lambda: system.show("MainPID") not in ("0", before))
    until(lambda: not Path(f"/proc/{old}").exists())


def test_upgrades_cost_no_request_and_keep_the_watchdog(system: System) -> None:
    assert answered(system)
    until(lambda: system.show("ActiveState") == "active")
    with Load(system.connect, keeping=2, closing=2) as load:
        for number in (1, 2):
            load.wait_answers(BETWEEN)
            before, old = system.show("MainPID"), system.main_pid()
            system.systemctl("kill", "--kill-whom=main", "--signal=USR2", "halfsync.service")
            system.wait_log("has taken over from process", number)
            wait_upgraded(system, before, old)
            load.wait_answers(BETWEEN)
            wait_fed(system, 2 * WATCHDOG_S)
            system.systemctl("reload", "halfsync.service")
            system.wait_log("the reload is complete", number)
        load.wait_answers(BETWEEN)
    assert not load.tally.failures, load.tally.reasons()
    assert (system.show("ActiveState"), system.show("NRestarts")) == ("active", "0")
    assert "processes serve" in system.show("StatusText") or "1 process serves" in system.show("StatusText")
    system.systemctl("stop", "halfsync.service")
    assert (system.show("Result"), system.show("ExecMainStatus")) == ("success", "0")


def test_stop_waits_for_requests_in_an_old_program(system: System) -> None:
    assert answered(system)
    until(lambda: system.show("ActiveState") == "active")
    with Connection(system.connect()) as connection:
        connection.send(build("/long"))
        system.wait_log("begun")
        before = system.show("MainPID")
        system.systemctl("kill", "--kill-whom=main", "--signal=USR2", "halfsync.service")
        until(lambda: system.show("MainPID") not in ("0", before))
        system.wait_log("has taken over from process")
        system.systemctl("stop", "--no-block", "halfsync.service")
        system.wait_log("drains")
        system.go()
        assert connection.response().body == b"small"
    until(lambda: system.show("ActiveState") == "inactive")
    assert (system.show("Result"), system.show("ExecMainStatus")) == ("success", "0")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_service_that_dies_or_stands_still_is_started_again(system: System, number: signal.Signals) -> None:
    assert answered(system)
    before = system.main_pid()
    os.kill(before, number)
    until(lambda: system.show("NRestarts") == "1")
    assert answered(system)
    assert system.main_pid() != before


def test_stop_waits_for_running_requests(system: System) -> None:
    with Connection(system.connect()) as connection:
        connection.send(build("/long"))
        system.wait_log("begun")
        assert system.listens()
        system.systemctl("stop", "--no-block", "halfsync.service")
        system.wait_log("drains")
        until(lambda: not system.listens())  # all of them do, and count from now on
        system.go()
        assert connection.response().body == b"small"
    until(lambda: system.show("ActiveState") == "inactive")
    assert (system.show("Result"), system.show("ExecMainStatus")) == ("success", "0")
    system.wait_log("1 request was still finished, none cut off")
