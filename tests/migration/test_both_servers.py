"""Configurations as public projects have them are converted, and an application answers the same under both servers.

The projects are in projects/: Django with hooks, Flask behind nginx, and logging by a dict with prometheus_client's
multiprocess mode. A request goes to gunicorn with the configuration, and to halfsync with what was made of it.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.client import Connection, Response, build
from tests.faults.serving import EXIT_TIMEOUT_S, environment, free_port
from tests.wsgi import until

pytest.importorskip("gunicorn")

PROJECTS = Path(__file__).parent / "projects"
# Fields of a server, which frames what the application has not framed.
OWN = ("date", "server", "connection", "x-request-id", "transfer-encoding", "content-length", "keep-alive")
FORWARDED = [
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "pages.example"),
]
Asked = list[bytes]


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the project that the test names."""
    folder = tmp_path / str(request.param)
    shutil.copytree(PROJECTS / request.param, folder)
    return folder


def in_project(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("project", [name], indirect=True, ids=[name])


def halfsync(folder: Path, *arguments: str) -> str:
    """Run a command of halfsync in a project, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "halfsync", *arguments],
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def convert(folder: Path) -> dict[str, object]:
    """Convert the configuration, let `check` accept the settings, and return them."""
    halfsync(folder, "import-config", "-o", "halfsync.toml")
    assert "loads, with these settings" in halfsync(folder, "check")
    return tomllib.loads((folder / "halfsync.toml").read_text())


@contextmanager
def running(folder: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a project, with its output in the file "log", and end its processes."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder, env=environment() | {"HOME": str(folder)}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(EXIT_TIMEOUT_S)


def connect(folder: Path, address: str) -> socket.socket | None:
    """Return a connection; None: nothing listens yet."""
    made = socket.socket(socket.AF_UNIX if address.startswith("unix:") else socket.AF_INET)
    made.settimeout(EXIT_TIMEOUT_S)
    host, _, port = address.rpartition(":")
    try:
        made.connect(str(folder / port) if host == "unix" else (host, int(port)))
    except (ConnectionRefusedError, FileNotFoundError):
        made.close()
        return None
    return made


def ask(folder: Path, address: str, requests: Asked) -> list[Response]:
    """Return the answers, each over a connection of its own."""
    answers = []
    for request in requests:
        made = connect(folder, address)
        assert made is not None
        with Connection(made) as connection:
            connection.send(request)
            answers.append(connection.response(request.split()[0].decode()))
    return answers


def answers(folder: Path, address: str, requests: Asked, *command: str) -> list[Response]:
    """Return the answers of a server that is run for them."""

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        made = connect(folder, address)
        if made is not None:
            made.close()
        return made is not None

    with running(folder, *command) as process:
        until(listens)
        found = ask(folder, address, requests)
        process.terminate()
        assert process.wait(EXIT_TIMEOUT_S) == 0, (folder / "log").read_text()
    return found


def essence(response: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return what an application has said, without what is the server's."""
    fields = [(name.lower(), value) for name, value in response.fields if name.lower() not in OWN]
    return response.status, sorted(fields), response.body


def compare(folder: Path, address: str, requests: Asked, bind: tuple[str, ...] = ()) -> list[Response]:
    """Compare the answers of both servers, and return those of halfsync."""
    under_gunicorn = answers(folder, address, requests, "gunicorn", *bind)
    under_halfsync = answers(folder, address, requests, "halfsync", "serve", *bind)
    assert list(map(essence, under_halfsync)) == list(map(essence, under_gunicorn))
    return under_halfsync


@in_project("shop")
def test_django_with_hooks(project: Path) -> None:
    settings = convert(project)
    assert settings["env"] == {"DJANGO_SETTINGS_MODULE": "shop.settings", "SHOP_CURRENCY": "EUR"}
    assert (settings["threads"], settings["request_timeout"], settings["max_requests"]) == (1, "2m", 1000)
    text = (project / "halfsync.toml").read_text()
    for left in ("worker_int", "pre_exec", "proc_name", "worker_tmp_dir", "keepalive"):
        assert f"# - {left}: " in text
    address = f"127.0.0.1:{free_port()}"
    requests = [
        build("/price/7"),
        build("/price/7", fields=[("X-Forwarded-Proto", "https")]),
        build("/order", method="POST", body=b"seven"),
        build("/missing"),
        build("/price/7", method="HEAD"),
    ]
    first, *_ = compare(project, address, requests, ("-b", address))
    assert first.body == b'{"price": 7, "currency": "EUR", "worker": "forked", "tls": false}'
    log = (project / "log").read_text()
    for line in ("starting, pid", "ready to serve", "worker spawned (pid: ", "worker exits (pid: "):
        assert line in log
    assert re.search(r'^- - - \[.*\] "GET /price/7 HTTP/1.1" 200 ', log, re.MULTILINE)
    assert (project / "ready").read_text().isdecimal()


@in_project("pages")
def test_flask_behind_nginx(project: Path) -> None:
    settings = convert(project)
    assert settings["unix_mode"] == "0660"
    assert (settings["preload"], settings["factory"], settings["threads"]) == (True, True, 4)
    requests = [
        build("/", fields=FORWARDED),
        build(
            "/form",
            method="POST",
            body=b"b=2&a=1",
            fields=[("Content-Type", "application/x-www-form-urlencoded")],
        ),
        build("/stream"),
        build("/missing"),
    ]
    first, *_ = compare(project, "unix:pages.sock", requests)
    assert b'"client":"192.0.2.7"' in first.body and b'"url":"https://pages.example/"' in first.body


@in_project("figures")
def test_logging_dict_and_prometheus(project: Path) -> None:
    settings = convert(project)
    assert settings["child_exit"] == "gunicorn.conf.py:child_exit"
    assert "# - logconfig_dict: set up logging in the application" in (project / "halfsync.toml").read_text()
    address = f"127.0.0.1:{free_port()}"
    requests = [build(f"/{number}") for number in range(4)]
    compare(project, address, requests, ("-b", address))
    exits = (project / "exits").read_text().split()
    assert len(exits) == len(set(exits)) == 4  # two processes of each server
    assert not [pid for pid in exits if list((project / "figures").glob(f"gauge_live*_{pid}.db"))]
    last = answers(project, address, [build("/metrics")], "halfsync", "serve", "-b", address)
    assert b"requests_total 8.0" in last[0].body
