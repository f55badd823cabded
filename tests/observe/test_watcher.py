"""Slow requests: the stack of each is logged once, while it runs, in every model."""

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
def slow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Serving]:
    """Return a server of each model that logs requests that take longer than 200 ms."""
    with Serving(tmp_path, APP, *MODELS[request.param], "--slow-request", "200ms") as serving:
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
        any(f"GET /slow/{number} of 127.0.0.1 has taken 0." in line for line in lines) for number in range(3)
    )
    assert all("WARNING" in line and "slow_request is 0.2 s" in line for line in lines)
    assert not any("secret" in line or "/quick" in line for line in slow.lines)
    assert sum("served.py" in line and "in app" in line for line in slow.lines) == 3


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
