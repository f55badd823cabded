"""A server under test, from its start to its end."""

import http.client
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.lab import kernel, server
from halfsync.lab.experiment import MeasureError
from halfsync.lab.server import serving

APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.environ.get('LAB_WORD', '')} {os.environ.get('HALFSYNC_MODEL', '')} {os.getpid()}".encode()]

def broken(environ, start_response):
    os._exit(7)

def holding(environ, start_response):
    import signal, time
    print("holding on", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "lab_app.py").write_text(APP)
    yield tmp_path
    # Nothing of a server is left, whatever happened.
    assert not [
        entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and _runs_in(entry, tmp_path)
    ]


def _runs_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:
        return False


def await_end(pid: int) -> None:
    """Wait until a child has ended, and leave it to be reaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def ask(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


@pytest.mark.parametrize("model", ["process", "thread", "pool", "proactor"])
def test_each_model_serves_and_is_measured(model: str, folder: Path) -> None:
    with serving("lab_app:app", "--model", model, chdir=folder) as served:
        before = served.cost()
        for _ in range(20):
            ask(served.port)
        served.settle()
        cost = served.cost() - before
        memory = served.memory()
        assert kernel.pids_of(served.session)
    assert cost.cpu_s > 0
    assert memory.pss_bytes >= memory.private_bytes > 1 << 20
    assert served.ended is not None
    assert served.ended.cpu_s >= cost.cpu_s - 2 / kernel.TICKS_PER_S
    assert served.ended.voluntary >= 20


def test_what_a_server_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFSYNC_MODEL", "thread")
    cpu = min(os.sched_getaffinity(0))
    with serving("lab_app:app", chdir=folder, cpus={cpu}, environment={"LAB_WORD": "word"}) as served:
        word, *rest = ask(served.port).split(" ")
        assert os.sched_getaffinity(served.pid) == {cpu}
    # The lab's settings are those on its command line.
    assert (word, rest) == ("word", ["", str(served.pid)])


def test_several_processes_are_one_session(folder: Path) -> None:
    with serving("lab_app:app", "--workers", "2", chdir=folder) as served:
        assert len(kernel.pids_of(served.session)) == 3
        assert ask(served.port).split(" ")[-1] != str(served.pid)
    assert kernel.pids_of(served.session) == []


def test_a_server_that_does_not_start_says_why(folder: Path) -> None:
    with (
        pytest.raises(MeasureError, match=r"did not start \(exit status 3\): .*lab_app.*missing"),
        serving("lab_app:missing", chdir=folder),
    ):
        pytest.fail("it must not get here")


def test_an_interpreter_that_is_not_there_is_named(folder: Path) -> None:
    with (
        pytest.raises(MeasureError, match=r"/no/python cannot be started: .*No such file"),
        serving("lab_app:app", python="/no/python", chdir=folder),
    ):
        pytest.fail("it must not get here")


def test_a_server_that_is_never_ready_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "START_S", 0.0)
    with (
        pytest.raises(MeasureError, match="was not ready within 0 s"),
        serving("lab_app:app", chdir=folder),
    ):
        pytest.fail("it must not get here")


def test_a_server_that_ends_under_load_is_an_error(folder: Path) -> None:
    with (
        pytest.raises(MeasureError, match=r"the server ended \(exit status 7\)"),
        serving("lab_app:broken", chdir=folder) as served,
    ):
        with pytest.raises((http.client.HTTPException, OSError)):
            ask(served.port)
        await_end(served.pid)
        # Nobody else has its listening socket: it is gone with the server.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", served.port))


def test_a_server_that_was_killed_is_named_by_its_signal(folder: Path) -> None:
    with (
        pytest.raises(MeasureError, match=r"the server ended \(SIGKILL\)"),
        serving("lab_app:app", chdir=folder) as served,
    ):
        os.kill(served.pid, signal.SIGKILL)
        await_end(served.pid)


def test_a_server_that_does_not_end_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STOP_S", 0.2)
    with serving("lab_app:holding", "--model", "thread", chdir=folder) as served:
        client = socket.create_connection(("127.0.0.1", served.port))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        while "holding on" not in served.log.read_text():
            os.sched_yield()
    client.close()
    assert kernel.pids_of(served.session) == []


def test_an_error_in_the_body_ends_the_server(folder: Path) -> None:
    class OwnError(Exception):
        pass

    with pytest.raises(OwnError), serving("lab_app:app", chdir=folder) as served:
        raise OwnError
    assert kernel.pids_of(served.session) == []


HOLDER = """
import signal
from pathlib import Path
from halfsync.lab.server import serving

with serving("lab_app:app", "--workers", "2", chdir=Path.cwd()) as server:
    print(server.pid, flush=True)
    signal.pause()
"""


def test_a_server_ends_with_a_lab_that_is_killed(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as lab:
        assert lab.stdout is not None
        descriptor = os.pidfd_open(int(lab.stdout.readline()))
        try:
            lab.kill()
            assert select.select([descriptor], [], [], 30)[0]
        finally:
            os.close(descriptor)


def test_a_server_whose_lab_has_ended_at_once_does_not_start() -> None:
    command = [*server.tethered(sys.executable), "-c", "print('begun')"]
    command[command.index(str(os.getpid()))] = "1"  # not its parent
    assert subprocess.run(command, capture_output=True, check=True).stdout == b""
