"""`halfsync status`: what it prints for people and programs, and what it says if no server answers."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.client import Connection, build
from tests.faults.serving import Serving, environment
from tests.wsgi import until

from halfsync.cli.status import plain, span, table

APP = """
import os, time

def somewhere_deep():
    while not os.path.exists("go"):
        time.sleep(0.005)

def app(environ, start_response):
    if environ["PATH_INFO"] != "/":
        somewhere_deep()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


def ask(directory: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "halfsync", "status", *options],
        cwd=directory,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Serving]:
    """Return a server whose worker has a request, with its admin socket in its directory."""
    with (
        Serving(tmp_path, APP, "--threads", "2", "--admin-bind", "unix:admin.sock") as serving,
        ExitStack() as stack,
    ):
        connection = stack.enter_context(Connection(serving.address, timeout_s=60))
        connection.send(build("/report?secret=1"))
        until(
            lambda: json.loads(ask(tmp_path, "--json", "--admin-bind", "unix:admin.sock").stdout)["workers"]
        )
        yield serving
        (tmp_path / "go").touch()
        assert connection.response().body == b"ok"


def test_it_shows_what_each_worker_runs(busy: Serving, tmp_path: Path) -> None:
    done = ask(tmp_path, "--admin-bind", "unix:admin.sock")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("served:app: ready, up ")
    assert any(line.split() == ["PROCESS", "FOR", "CLIENT", "REQUEST"] for line in lines)
    (process,) = [line.split() for line in lines if " serving " in line]
    assert (process[0], process[3], process[6]) == ("1", "proactor", "1/2")
    (worker,) = [line.split() for line in lines if "/report" in line]
    assert (worker[0], worker[2:]) == ("1", ["127.0.0.1", "GET", "/report"])
    assert "secret" not in done.stdout
    assert "somewhere_deep" not in done.stdout
    assert "request id" not in done.stdout and "LANE" not in done.stdout


def test_it_shows_stacks_if_it_is_asked_to(busy: Serving, tmp_path: Path) -> None:
    done = ask(tmp_path, "--stacks", "--admin-bind", "unix:admin.sock")
    assert done.returncode == 0
    assert re.search(r"GET /report \(request id [0-9a-f]{32}\)$", done.stdout, re.MULTILINE)
    assert ", in app" in done.stdout and ", in somewhere_deep" in done.stdout
    assert done.stdout.index(", in app") < done.stdout.index(", in somewhere_deep")
    assert "time.sleep(0.005)" in done.stdout or "os.path.exists" in done.stdout


def test_it_shows_lanes(tmp_path: Path) -> None:
    (tmp_path / "halfsync.toml").write_text(
        'admin_bind = "unix:admin.sock"\nlanes.report = {paths = ["/report"], max_threads = 1}\n'
    )
    with Serving(tmp_path, APP) as serving, ExitStack() as stack:
        connections = [stack.enter_context(Connection(serving.address, timeout_s=60)) for _ in range(2)]
        for connection in connections:
            connection.send(build("/report"))
        until(lambda: json.loads(ask(tmp_path, "--json").stdout)["queue"]["length"] == 1)
        lines = [line.split() for line in ask(tmp_path).stdout.splitlines()]
        assert ["LANE", "WAITING", "OLDEST", "RUNNING", "TAKEN", "SHED", "EXPIRED"] in lines
        assert ["default", "0", "-", "0", "0", "0", "0"] in lines
        (report,) = [line for line in lines if line[:1] == ["report"]]
        assert (report[1], report[3:]) == ("1", ["1", "1", "0", "0"])
        assert re.fullmatch(r"[0-9.]+m?s", report[2])
        (tmp_path / "go").touch()
        assert [connection.response().status for connection in connections] == [200, 200]


def test_it_finds_the_server_by_its_settings(busy: Serving, tmp_path: Path) -> None:
    assert ask(tmp_path, HALFSYNC_ADMIN_BIND="unix:admin.sock").returncode == 0
    (tmp_path / "halfsync.toml").write_text('admin_bind = "unix:admin.sock"\n')
    assert ask(tmp_path).returncode == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert ask(elsewhere, "--chdir", str(tmp_path), HALFSYNC_ADMIN_BIND="unix:admin.sock").returncode == 0


def test_it_goes_on_until_it_is_interrupted(busy: Serving, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "halfsync",
        "status",
        "--json",
        "--watch",
        "--admin-bind",
        "unix:admin.sock",
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout
        times = [json.loads(watching.stdout.readline())["time"] for _ in range(3)]
        assert times[2] - times[1] > 0.5
        watching.terminate()
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, "admin_bind is not set"),
        (["--admin-bind", "fd://3"], 2, "--admin-bind: it is not known where the server answers"),
        (["--admin-bind", "unix:nothing.sock"], 1, "no server answers at unix:"),
        (["--admin-bind", "127.0.0.1:1"], 1, "no server answers at 127.0.0.1:1: connection refused"),
        (["--admin-bind", "nonsense"], 2, "--admin-bind: "),
        (["--stack"], 2, "did you mean --stacks?"),
    ],
)
def test_it_says_why_there_is_no_answer(tmp_path: Path, options: list[str], code: int, said: str) -> None:
    done = ask(tmp_path, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"SSH-2.0-x\r\n", "does not speak HTTP"),
    ],
)
def test_it_says_if_something_else_answers(tmp_path: Path, answer: bytes, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        done = ask(tmp_path, "--admin-bind", f"127.0.0.1:{listener.getsockname()[1]}")
        serving.join()
    assert done.returncode == 1
    assert said in done.stderr


def test_a_path_cannot_steer_the_terminal() -> None:
    hostile: dict[str, Any] = {"method": "GET", "path": "/\x1b[2J\x9b1m\u202e"}
    assert plain(hostile["path"]) == "/\\x1b[2J\\x9b1m\\x202e"
    assert table([("A", "B"), ("x\ny", "z")]) == ["A       B", "x\\x0ay  z"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.0123, "12ms"), (4.25, "4.2s"), (61, "1m01s"), (11520, "3h12m"), (90000, "1d01h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert span(seconds) == text
