"""What the service manager receives, at a socket of the test, and what happens if it cannot be notified."""

import logging
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.host.notify import Notifier
from halfsync.runtime import originals


class Manager:
    """The service manager's end."""

    def __init__(self, address: str) -> None:
        self.variables = {"NOTIFY_SOCKET": address}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(5)

    def told(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def silent(self) -> bool:
        """What was sent is there: a datagram of this machine's arrives before send returns."""
        return select.select([self._socket], [], [], 0)[0] == []

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory(prefix="hs") as folder:
        found = Manager(f"{folder}/notify" if request.param == "path" else f"@{folder}")
        yield found
        found.close()


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_messages_are_sent(manager: Manager) -> None:
    notifier = Notifier(manager.variables)
    notifier.ready()
    assert manager.told() == ["READY=1"]
    notifier.ready("4 workers")
    assert manager.told() == ["READY=1", "STATUS=4 workers"]
    notifier.status("two\nlines\r of one")
    assert manager.told() == ["STATUS=two lines of one"]
    notifier.stopping()
    assert manager.told() == ["STOPPING=1"]
    notifier.main_process(42)
    assert manager.told() == ["MAINPID=42"]
    notifier.status("")
    assert manager.silent()


def test_held_descriptors_are_sent_by_name(manager: Manager) -> None:
    notifier = Notifier(manager.variables)
    notifier.hold()
    notifier.ready("2 workers")
    notifier.status("one has died")
    assert manager.silent()
    notifier.release()
    assert manager.told() == ["READY=1", "STATUS=one has died"]
    assert manager.silent()
    notifier.hold()
    notifier.release()
    assert manager.silent()


def test_of_the_held_states_the_last_is_sent(manager: Manager) -> None:
    notifier = Notifier(manager.variables)
    notifier.hold()
    notifier.ready("2 workers")
    notifier.reloading()
    notifier.release()
    status, state, moment = manager.told()
    assert (status, state) == ("STATUS=2 workers", "RELOADING=1")
    assert moment.startswith("MONOTONIC_USEC=")
    for last in (notifier.ready, notifier.stopping):
        notifier.hold()
        notifier.reloading("it was told")
        last()
        notifier.release(main=True)
        assert manager.told() == [f"MAINPID={os.getpid()}"]
        state = "READY=1" if last == notifier.ready else "STOPPING=1"
        assert manager.told() == ["STATUS=it was told", state]


def test_a_reload_sends_the_time_of_its_begin(manager: Manager) -> None:
    before = time.monotonic_ns() // 1000
    Notifier(manager.variables).reloading("at once")
    first, moment, status = manager.told()
    assert (first, status) == ("RELOADING=1", "STATUS=at once")
    name, _, value = moment.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_it_beats_at_half_of_the_time(manager: Manager) -> None:
    clock = Clock()
    notifier = Notifier(manager.variables | {"WATCHDOG_USEC": "10000000"}, now=clock)
    assert notifier.watchdog_interval == 5.0
    assert notifier.beat() == 5.0
    assert manager.told() == ["WATCHDOG=1"]
    clock.time += 3
    assert notifier.beat() == 2.0
    assert manager.silent()
    clock.time += 4
    assert notifier.beat() == 5.0
    assert manager.told() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "x"}, None),
    ],
)
def test_the_watchdog_is_for_one_process(
    manager: Manager, variables: dict[str, str], interval: float | None
) -> None:
    notifier = Notifier(manager.variables | variables)
    assert notifier.watchdog_interval == interval
    if interval is None:
        assert notifier.beat() is None
        assert manager.silent()


@pytest.mark.parametrize("text", ["0", "-1", "soon", "9" * 30])
def test_a_watchdog_without_a_time_is_logged(
    manager: Manager, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert Notifier(manager.variables | {"WATCHDOG_USEC": text}).watchdog_interval is None
    assert "not a number of microseconds" in caplog.text


def test_nothing_is_sent_without_a_service_manager(caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.ready()
    notifier.reloading()
    notifier.stopping()
    notifier.status("x")
    assert (notifier.watchdog_interval, notifier.beat(), caplog.text) == (None, None, "")


@pytest.mark.parametrize("address", ["/nowhere/notify", "@nobody-has-this", "vsock:2:3", "relative"])
def test_a_failure_is_logged_once_and_is_not_fatal(address: str, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    for _ in range(3):
        notifier.ready()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert address in caplog.text


def test_a_manager_that_does_not_read_delays_nothing(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(manager.variables)
    for _ in range(10_000):
        notifier.status("x" * 200)
        if caplog.records:
            break
    assert len(caplog.records) == 1
    assert manager.told() == ["STATUS=" + "x" * 200]


def test_the_environment_is_cleared(manager: Manager) -> None:
    environ = {**manager.variables, "WATCHDOG_USEC": "10", "WATCHDOG_PID": "1", "OTHER": "x"}
    notifier = Notifier.from_environment(environ)
    assert environ == {"OTHER": "x"}
    assert notifier.variables == {**manager.variables, "WATCHDOG_USEC": "10", "WATCHDOG_PID": "1"}
    notifier.ready()
    assert manager.told() == ["READY=1"]


def test_the_environment_of_this_process(monkeypatch: pytest.MonkeyPatch, manager: Manager) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.variables["NOTIFY_SOCKET"])
    Notifier.from_environment().ready()
    assert manager.told() == ["READY=1"]
    assert "NOTIFY_SOCKET" not in os.environ


def test_a_forked_child_does_not_speak_for_its_parent(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = Notifier(manager.variables | {"WATCHDOG_USEC": "1000000"})
    with monkeypatch.context() as patch:
        parent = os.getpid()
        patch.setattr(originals.os, "getpid", lambda: parent + 1)
        notifier.ready()
        notifier.beat()
    assert manager.silent()


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_it_keeps_nothing_open(manager: Manager) -> None:
    before = open_descriptors()
    notifier = Notifier(manager.variables)
    notifier.ready()
    manager.told()
    assert open_descriptors() == before


def test_from_a_process_of_its_own(manager: Manager) -> None:
    code = "from halfsync.host.notify import Notifier; Notifier.from_environment().ready('here')"
    environ = {**os.environ, **manager.variables, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, timeout=60)
    assert manager.told() == ["READY=1", "STATUS=here"]


def test_a_file_instead_of_a_socket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "is-no-socket"
    path.touch()
    Notifier({"NOTIFY_SOCKET": str(path)}).ready()
    assert "cannot notify" in caplog.text
