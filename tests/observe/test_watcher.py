"""Slow requests: the stack of each is logged once, while it runs, in every model."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from halfsync.observe.watcher import Watcher
from halfsync.shared.activity import Activity
from tests.client import Connection, build, fetch
from tests.conftest import Serve
from tests.faults.serving import MODELS, Serving
from tests.wsgi import until

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"

APP = """
import os, time

def somewhere_deep(name):
    while not os.path.exists(name):
        time.sleep(0.005)

def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/slow"):
        somewhere_deep("go")
    if environ["PATH_INFO"] == "/spin":
        sum(range(40_000_000))  # one call into C that keeps the GIL
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    of: str = request.param
    return of


@pytest.fixture
def slow(name: str, tmp_path: Path) -> Iterator[Serving]:
    """Return a server of each model that logs requests that take longer than 200 ms."""
    with Serving(tmp_path, APP, *MODELS[name], "--slow-request", "200ms") as serving:
        yield serving


def test_the_stack_of_a_slow_request_is_logged_once_while_it_runs(slow: Serving, tmp_path: Path) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(slow.address, timeout_s=60)) for _ in range(3)]
        for number, connection in enumerate(connections):
            connection.send(build(f"/slow/{number}?secret=1"))
        slow.wait_lines("has taken", 3)
        slow.wait_lines("in somewhere_deep", 3)
        (tmp_path / "go").touch()
        assert [connection.response().body for connection in connections] == [b"ok"] * 3
    assert fetch(slow.address, "/quick").body == b"ok"
    lines = [line for line in slow.lines if "has taken" in line]
    assert len(lines) == 3
    assert all(
        any(
            f"GET /slow/{number} of 127.0.0.1 (request id " in line and ") has taken 0." in line
            for line in lines
        )
        for number in range(3)
    )
    assert all("WARNING" in line and "slow_request is 0.2 s" in line for line in lines)
    assert not any("secret" in line or "/quick" in line for line in slow.lines)
    assert sum("served.py" in line and "in app" in line for line in slow.lines) == 3


def test_the_line_has_the_ids_by_which_the_access_log_has_the_request(tmp_path: Path, name: str) -> None:
    log = tmp_path / "access.log"
    options = ("--slow-request", "200ms", "--access-log", str(log), "--log-format", "json")
    with Serving(tmp_path, APP, *MODELS[name], *options, "--server-log-format", "json") as serving:
        with (
            Connection(serving.address, timeout_s=60) as traced,
            Connection(serving.address, timeout_s=60) as own,
        ):
            traced.send(
                build("/slow/traced", fields=[("X-Request-Id", "of-a-proxy"), ("traceparent", TRACEPARENT)])
            )
            own.send(build("/slow/own"))
            serving.wait_lines("has taken", 2)
            (tmp_path / "go").touch()
            assert traced.response().status == own.response().status == 200
        until(lambda: log.read_text().count("\n") == 2)
        requests = {entry["path"]: entry for entry in map(json.loads, log.read_text().splitlines())}
        assert requests["/slow/traced"]["request_id"] == "of-a-proxy"
        assert requests["/slow/traced"]["trace_id"] == TRACE_ID
        for path, request in requests.items():
            ids = f"request id {request['request_id']}"
            if request["trace_id"] is not None:
                ids += f", trace id {request['trace_id']}"
            (line,) = [json.loads(line) for line in serving.lines if path in line and "has taken" in line]
            assert line["message"].startswith(f"GET {path} of 127.0.0.1 ({ids}) has taken 0.")
            assert (line["request_id"], line.get("trace_id")) == (request["request_id"], request["trace_id"])


def test_a_request_without_an_id_has_none_in_its_line(tmp_path: Path) -> None:
    options = ("--slow-request", "200ms", "--request-id-field", "none")
    with Serving(tmp_path, APP, *options) as serving, Connection(serving.address, timeout_s=60) as connection:
        connection.send(build("/slow"))
        assert "GET /slow of 127.0.0.1 has taken 0." in serving.wait_line("has taken")
        (tmp_path / "go").touch()
        assert connection.response().status == 200


def test_a_slow_request_that_keeps_the_gil_is_logged_too(slow: Serving) -> None:
    """Its stack can be read only once it gives the GIL up, and it may have ended by then."""
    with Connection(slow.address, timeout_s=60) as connection:
        connection.send(build("/spin"))
        assert connection.response().body == b"ok"
    line = slow.wait_line("GET /spin of 127.0.0.1")
    assert "has taken" in line or "ended before its stack could be read" in line


def test_nothing_is_noted_unless_it_is_asked_for(serve: Serve) -> None:
    threads: list[str] = []

    def app(_environ: object, start_response: object) -> list[bytes]:
        threads.extend(thread.name for thread in threading.enumerate())
        start_response("200 OK", [("Content-Length", "2")])  # type: ignore[operator]
        return [b"ok"]

    with serve(app) as server:
        assert fetch(server.address).body == b"ok"
    assert "halfsync-watcher" not in threads
    with serve(app, slow_request=60) as server:
        assert fetch(server.address).body == b"ok"
    assert "halfsync-watcher" in threads


def test_a_watcher_that_was_not_started_is_stopped() -> None:
    watcher = Watcher(Activity(), 0, 1.0)
    assert watcher.stop()
    watcher.start()
    assert watcher.stop()
    assert watcher.stop()
