"""The server's log as JSON, from the first line to the last, whatever happens in between."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from halfsync.log import KEYS
from tests.client import Connection, fetch
from tests.faults.serving import Serving, environment

APP = """
def app(environ, start_response):
    if environ["PATH_INFO"] == "/fails":
        raise ZeroDivisionError("in the application")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
JSON = ("--server-log-format", "json")


def objects(lines: list[str]) -> list[dict[str, Any]]:
    """Return what the lines say: each is an object with the keys that every line has."""
    found = [json.loads(line) for line in lines]
    for one in found:
        assert list(one)[:5] == ["time", "pid", "level", "logger", "message"]
        assert set(one) <= set(KEYS)
    return found


def test_every_line_of_a_server_is_an_object(tmp_path: Path) -> None:
    with Serving(tmp_path, APP, *JSON) as serving:
        assert fetch(serving.address, "/fails").status == 500
        with Connection(serving.address) as connection:
            port = connection.socket.getsockname()[1]
            connection.send(b"GET / HTTP/1.1\r\n\r\n")
            assert connection.cut()
        serving.wait_line("refused a request")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        found = objects(serving.lines)
    assert [one["level"] for one in found] == ["INFO", "ERROR", "INFO", "INFO", "INFO"]
    start, failure, refusal, _, end = found
    assert " serves served:app on http://" in start["message"]
    assert failure["traceback"].endswith("ZeroDivisionError: in the application")
    assert (refusal["remote"], refusal["remote_port"], refusal["status"]) == ("127.0.0.1", port, 400)
    assert refusal["reason"] == "HTTP/1.1 without a Host field"
    assert end["message"].startswith("halfsync stopped")
    assert {one["pid"] for one in found} == {serving.process.pid}


def test_every_line_of_a_supervisor_and_its_processes_is_an_object(tmp_path: Path) -> None:
    with Serving(tmp_path, APP, *JSON, "--workers", "2") as serving:
        assert fetch(serving.address, "/fails").status == 500
        serving.wait_line("ZeroDivisionError")
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload ")
        (tmp_path / "served.py").write_text("1 / 0")
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload failed")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        found = objects(serving.lines)
    broken = [one for one in found if "importing served failed" in one["message"]]
    assert broken and "ZeroDivisionError" in broken[0]["traceback"]
    assert len({one["pid"] for one in found}) >= 3


@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=["alone", "supervised"])
def test_a_start_that_fails_says_so_as_an_object(tmp_path: Path, workers: tuple[str, ...]) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    ran = subprocess.run(
        [sys.executable, "-m", "halfsync", "serve", "broken:app", "-b", "127.0.0.1:0", *JSON, *workers],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 3
    found = objects(ran.stderr.splitlines())
    (failure,) = [one for one in found if "importing broken failed" in one["message"]]
    assert failure["level"] == "ERROR"
    assert "ZeroDivisionError: division by zero" in failure["traceback"]


def test_a_start_that_fails_has_time_and_process_as_text(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    process = subprocess.Popen(
        [sys.executable, "-m", "halfsync", "serve", "broken:app"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    told = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 3
    assert told[0].startswith("Traceback")
    assert f" [{process.pid}] ERROR halfsync: broken:app: importing broken failed" in told[-1]
