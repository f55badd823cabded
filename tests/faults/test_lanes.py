"""Lanes of a server in a process of its own: how long a fast lane waits, and lanes that a reload changes."""

import select
import signal
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from tests.client import Connection, build, fetch
from tests.faults.serving import Serving
from tests.wsgi import EVENT_TIMEOUT_S

SLOW_S = 5.0
WAITING = 50
ASKED = 300
P99_S = 0.05

APP = f"""
import time
def app(environ, start_response):
    if environ["PATH_INFO"].startswith("/slow"):
        time.sleep({SLOW_S})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""
LANES = """
threads = 4
[lanes.slow]
paths = ["/slow/*"]
[lanes.fast]
paths = ["/fast"]
priority = 10
"""
LIMITED = """
workers = 1
[lanes.slow]
paths = ["/slow/*"]
max_threads = 1
queue_size = 1
"""
GATE = """
import os, time
def app(environ, start_response):
    os.write(2, b"begun\\n")
    while environ["PATH_INFO"].startswith("/slow") and not os.path.exists("go"):
        time.sleep(0.005)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""


def test_fifty_slow_requests_do_not_delay_a_fast_lane(tmp_path: Path) -> None:
    """The bar: 50 queued requests of 5 s, and a 99th percentile below 50 ms in another lane."""
    (tmp_path / "halfsync.toml").write_text(LANES)
    with Serving(tmp_path, APP) as serving, ExitStack() as stack:
        for number in range(WAITING):
            connection = stack.enter_context(Connection(serving.address))
            connection.send(build(f"/slow/{number}"))
        fast = stack.enter_context(Connection(serving.address))
        times = []
        for _ in range(ASKED):
            begin = time.monotonic()
            fast.send(build("/fast"))
            assert fast.response().status == 200
            times.append(time.monotonic() - begin)
            time.sleep(0.005)  # the slow requests begin and end meanwhile
        p99 = statistics.quantiles(times, n=100)[98]
        print(
            f"median {statistics.median(times) * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms, {max(times) * 1000:.2f} ms"
        )
        assert p99 < P99_S


def test_a_reload_changes_the_lanes(tmp_path: Path) -> None:
    """A request past the lane's limits is refused before the reload, and served by the process that comes after."""
    settings = tmp_path / "halfsync.toml"
    settings.write_text(LIMITED)
    with Serving(tmp_path, GATE) as serving, ExitStack() as stack:
        serving.wait_line("serve")
        waiting = [stack.enter_context(Connection(serving.address)) for _ in range(3)]
        waiting[0].send(build("/slow/x"))
        serving.wait_line("begun")
        for connection in waiting[1:]:
            connection.send(build("/slow/x"))
        # One is with a worker, one waits, and one is refused, whichever came last.
        readable, _, _ = select.select([one.socket for one in waiting], [], [], EVENT_TIMEOUT_S)
        refused = next(one for one in waiting if one.socket in readable)
        assert refused.response().status == 503
        waiting.remove(refused)
        settings.write_text(
            LIMITED.replace("lanes.slow", "lanes.default").replace('paths = ["/slow/*"]\n', "")
        )
        before = len(serving.lines)
        serving.signal(signal.SIGHUP)
        serving.wait_line("the reload is complete")
        assert not [line for line in serving.lines[before:] if "ERROR" in line], serving.lines
        (tmp_path / "go").touch()
        assert [one.response().status for one in waiting] == [200, 200]
        assert fetch(serving.address, "/slow/x").status == 200
        settings.write_text(LIMITED + "thread = 2\n")
        serving.signal(signal.SIGHUP)
        serving.wait_line("lane slow has an unknown key 'thread'; did you mean 'threads'?")
        assert fetch(serving.address).status == 200, "it goes on with what it has"
