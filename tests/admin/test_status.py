"""The status of a server: what each worker runs, and where it is, whatever the application does, in every model."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.client import Connection, Response, build, fetch
from tests.faults.serving import MODELS, Serving, free_port
from tests.wsgi import until

PROMPT_S = 0.010  # in which an answer comes while a worker keeps the GIL
SPIN_S = 10.0
DOCUMENT = Path(__file__).parents[2] / "docs" / "status.md"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
SUPERVISED = [(), ("--workers", "2")]

APP = """
import os, time, ctypes

def somewhere_deep():
    while not os.path.exists("go"):
        time.sleep(0.005)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/wait"):
        somewhere_deep()
    if path == "/keep":
        open("kept", "w").close()
        ctypes.PyDLL(None).usleep(int(environ["QUERY_STRING"]))  # a call into C that keeps the GIL
    if path == "/die":
        os._exit(3)
    start_response("200 OK", [("Content-Length", "2"), ("X-Own-Id", environ["halfsync.request_id"])])
    return [b"ok"]
"""


class Watched(Serving):
    """A server with an admin address."""

    def __init__(self, directory: Path, *options: str) -> None:
        port = free_port()
        self.admin = ("127.0.0.1", port)
        self.directory = directory
        super().__init__(directory, APP, *options, "--admin-bind", f"127.0.0.1:{port}")

    def status(self, query: str = "") -> dict[str, Any]:
        response = fetch(self.admin, f"/status{query}")
        assert (response.status, response.one("Content-Type")) == (200, "application/json")
        found: dict[str, Any] = json.loads(response.body)
        return found

    def workers(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.status(query)["workers"]
        return found

    def stacks(self) -> list[str]:
        """Ask for stacks, and wait until each worker has one."""
        self.status("?stacks")
        until(lambda: not any(one["stack_awaited"] for one in self.workers("?stacks=kept")))
        return [one["stack"] for one in self.workers("?stacks=kept")]

    def go(self) -> None:
        (self.directory / "go").touch()


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return MODELS[request.param]


@pytest.fixture(params=SUPERVISED, ids=["alone", "supervised"])
def watched(request: pytest.FixtureRequest, tmp_path: Path, model: tuple[str, ...]) -> Iterator[Watched]:
    with Watched(tmp_path, *model, *request.param) as serving:
        until(lambda: fetch(serving.admin, "/readyz").status == 200)
        yield serving


@pytest.fixture
def proactor(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path) as serving:
        yield serving


def hold(serving: Watched, stack: ExitStack, target: str, number: int = 1) -> list[Connection]:
    """Return connections with a request each that is under way."""
    connections = [stack.enter_context(Connection(serving.address, timeout_s=60)) for _ in range(number)]
    for connection in connections:
        connection.send(build(target))
    until(lambda: len(serving.workers()) == number)
    return connections


def test_it_shows_what_each_worker_runs_and_where_it_is(watched: Watched) -> None:
    with ExitStack() as stack:
        connections = hold(watched, stack, "/wait/here?secret=1", 2)
        for one in watched.workers():
            assert (one["method"], one["path"], one["client"]) == ("GET", "/wait/here", "127.0.0.1")
            assert 0 <= one["seconds"] < 60
            assert "stack" not in one and "path_length" not in one
        found = watched.stacks()
        assert len(found) == 2
        assert all(text.index("in app") < text.index("in somewhere_deep") for text in found)
        assert sum(one["working"] for one in watched.status()["processes"]) == 2
        watched.go()
        assert [connection.response().body for connection in connections] == [b"ok"] * 2
    until(lambda: watched.workers() == [])


def test_it_answers_at_once_while_a_worker_keeps_the_gil(watched: Watched) -> None:
    """Stacks are not to be had then, and the answer says so; nothing waits for them."""
    with Connection(watched.address, timeout_s=60) as connection:
        since = time.monotonic()
        connection.send(build(f"/keep?{SPIN_S * 1e6:.0f}"))
        until((watched.directory / "kept").exists)
        took = []
        with Connection(watched.admin) as asking:  # it stays for 16 requests
            for query in ("", "?stacks", *["?stacks=kept"] * 10):
                begun = time.monotonic()
                asking.send(build(f"/status{query}"))
                answer = json.loads(asking.response().body)
                took.append(time.monotonic() - begun)
                (worker,) = answer["workers"]
                assert worker["path"] == "/keep"
                if query:
                    assert (worker["stack"], worker["stack_awaited"]) == (None, True)
        assert min(took) < PROMPT_S and sorted(took)[len(took) // 2] < PROMPT_S
        assert time.monotonic() - since < SPIN_S
        connection.send(b"")


def test_a_killed_process_leaves_no_worker(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Watched(tmp_path, *model, "--workers", "2") as serving, ExitStack() as stack:
        connections = hold(serving, stack, "/wait")
        (worker,) = serving.workers()
        os.kill(worker["pid"], signal.SIGKILL)
        connections[0].cut()
        until(lambda: serving.workers() == [])
        until(lambda: [one["state"] for one in serving.status()["processes"]] == ["serving"] * 2)
        assert (
            worker["pid"] not in [one["pid"] for one in serving.status()["processes"]] or "process" in model
        )


def test_texts_of_clients_are_escaped(proactor: Watched) -> None:
    path = "/wait/\"\\</script>'%00"
    with ExitStack() as stack:
        (connection,) = hold(proactor, stack, path)
        assert proactor.workers()[0]["path"] == path
        proactor.go()
        assert connection.response().body == b"ok"


def test_a_long_path_is_cut_and_its_length_is_said(proactor: Watched) -> None:
    path = "/wait/" + "x" * 1000
    with ExitStack() as stack:
        (connection,) = hold(proactor, stack, path)
        (worker,) = proactor.workers()
        assert (worker["path"], worker["path_length"]) == (path[:192], len(path))
        proactor.go()
        assert connection.response().body == b"ok"


def test_the_client_is_the_one_that_a_trusted_proxy_names(watched: Watched) -> None:
    with Connection(watched.address, timeout_s=60) as connection:
        connection.send(build("/wait", fields=[("X-Forwarded-For", "2001:db8::7")]))
        until(lambda: [one["client"] for one in watched.workers()] == ["2001:db8::7"])
        watched.go()
        assert connection.response().body == b"ok"


def test_ids_are_those_of_the_access_log(watched: Watched) -> None:
    fields = [("X-Request-Id", "of-a-proxy"), ("traceparent", TRACEPARENT)]
    with ExitStack() as stack:
        traced, own = (stack.enter_context(Connection(watched.address, timeout_s=60)) for _ in range(2))
        traced.send(build("/wait/traced", fields=fields))
        own.send(build("/wait/own"))
        until(lambda: len(watched.workers()) == 2)
        shown = {one["path"]: (one["request_id"], one["trace_id"]) for one in watched.workers()}
        watched.go()
        assert traced.response().one("X-Own-Id") == "of-a-proxy"
        assert shown == {
            "/wait/traced": ("of-a-proxy", TRACE_ID),
            "/wait/own": (own.response().one("X-Own-Id"), None),
        }
        refused = stack.enter_context(Connection(watched.address))
        refused.send(b"GET / HTTP/1.1\r\n\r\n")
        page = refused.response()
    assert page.status == 400
    until(lambda: watched.status()["refused"] == 1)
    (refusal,) = watched.status()["refusals"]
    assert (refusal["request_id"], refusal["trace_id"]) == (page.one("X-Request-Id"), None)


def test_the_last_refusals_are_shown_with_their_reasons(watched: Watched) -> None:
    for request in (b"nonsense\r\n\r\n", b"GET /bad HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"):
        with Connection(watched.address) as connection:
            connection.send(request)
            assert connection.response().status == 400
    until(lambda: watched.status()["refused"] == 2)
    last, first = watched.status()["refusals"]
    assert (last["status"], last["method"], last["path"], last["client"]) == (400, "GET", "/bad", "127.0.0.1")
    assert "Content-Length" in last["reason"]
    assert (first["status"], first["method"], first["path"]) == (400, "", "")
    assert 0 <= last["ago"] <= first["ago"]


def test_connections_and_requests_are_shown(watched: Watched) -> None:
    with ExitStack() as stack:
        connections = hold(watched, stack, "/wait", 2)
        stack.enter_context(Connection(watched.address))
        until(lambda: sum(watched.status()["connections"].values()) == 3)
        until(lambda: watched.status()["connections"]["running"] == 2)
        processes = watched.status()["processes"]
        assert (sum(one["open"] for one in processes), sum(one["working"] for one in processes)) == (3, 2)
        watched.go()
        assert all(connection.response().body == b"ok" for connection in connections)
    until(lambda: watched.status()["requests"] == 2)
    assert sum(one["requests"] for one in watched.status()["processes"]) == 2


@pytest.mark.parametrize("model", ["proactor", "pool"])
def test_the_queue_is_shown_with_its_age(tmp_path: Path, model: str) -> None:
    with Watched(tmp_path, "--model", model, "--threads", "1") as serving, ExitStack() as stack:
        assert serving.status()["queue"] == {"length": 0, "oldest": 0}
        connections = hold(serving, stack, "/wait")
        connections += [stack.enter_context(Connection(serving.address)) for _ in range(2)]
        for connection in connections[1:]:
            connection.send(build("/wait"))
        until(lambda: serving.status()["queue"]["length"] == 2)
        until(lambda: serving.status()["connections"]["queued"] == 2)
        until(lambda: serving.status()["queue"]["oldest"] > 0)
        oldest = serving.status()["queue"]["oldest"]
        until(lambda: serving.status()["queue"]["oldest"] > oldest)
        serving.go()
        assert [connection.response().body for connection in connections] == [b"ok"] * 3
        until(lambda: serving.status()["queue"] == {"length": 0, "oldest": 0})


@pytest.mark.parametrize("model", ["process", "thread"])
def test_a_model_without_a_queue_shows_none(tmp_path: Path, model: str) -> None:
    with Watched(tmp_path, "--model", model) as serving:
        assert serving.status()["queue"] is None


# --- events ---


def events(connection: Connection, number: int) -> list[dict[str, Any]]:
    """Return the next events of a stream."""
    found: list[dict[str, Any]] = []
    text = b""
    while len(found) < number:
        text += connection.some(1 << 20)
        *whole, text = text.split(b"\n\n")
        found += [json.loads(one.removeprefix(b"data: ")) for one in whole if one.startswith(b"data: ")]
    return found


def subscribe(serving: Watched) -> tuple[Connection, Response]:
    connection = Connection(serving.admin, timeout_s=30)
    connection.send(build("/events"))
    return connection, connection.head()


def test_events_come_while_every_worker_is_busy_and_end_with_the_server(watched: Watched) -> None:
    with ExitStack() as stack:
        connections = hold(watched, stack, "/wait", 2)
        stream, head = subscribe(watched)
        stack.enter_context(stream)
        assert (head.status, head.one("Content-Type"), head.one("Connection")) == (
            200,
            "text/event-stream",
            "close",
        )
        assert head.one("Content-Length") is head.one("Transfer-Encoding") is None
        found = events(stream, 4)
        assert all(len(one["workers"]) == 2 for one in found)
        times = [one["time"] for one in found]
        assert times == sorted(set(times))
        watched.go()
        assert [connection.response().body for connection in connections] == [b"ok"] * 2
        watched.signal(signal.SIGTERM)
        stream.rest()  # it ends orderly
        assert watched.exit_code() == 0


def test_a_stream_ends_with_a_reload_and_another_process_goes_on(tmp_path: Path) -> None:
    with Watched(tmp_path, "--workers", "1") as serving:
        stream, _ = subscribe(serving)
        with stream:
            (first,) = events(stream, 1)
            serving.signal(signal.SIGHUP)
            stream.rest()
        stream, _ = subscribe(serving)
        with stream:
            until(
                lambda: (
                    events(stream, 1)[0]["processes"][0]["generation"] > first["processes"][0]["generation"]
                )
            )


def test_many_streams_and_one_that_nobody_reads(proactor: Watched) -> None:
    """Each gets its events. The one that is not read is held to its deadline, and keeps nothing from the others."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect(proactor.admin)
        deaf.sendall(build("/events"))
        streams = [stack.enter_context(subscribe(proactor)[0]) for _ in range(20)]
        for _ in range(3):
            assert all(len(events(stream, 2)) == 2 for stream in streams)
        assert fetch(proactor.admin, "/livez").status == 200
    until(lambda: fetch(proactor.admin, "/livez").status == 200)


def test_other_methods_and_other_names_are_refused(proactor: Watched) -> None:
    for path in ("/", "/status", "/events"):
        assert fetch(proactor.admin, path, method="POST", body=b"").status == 405
        with Connection(proactor.admin) as connection:
            connection.send(build(path, method="HEAD"))
            assert connection.response("HEAD").status == 200
        for host in ("rebound.example.com", "127.0.0.1.example.com", "example.com:9000"):
            with Connection(proactor.admin) as connection:
                connection.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                assert connection.response().status == 421
    for host in ("127.0.0.1:9000", "[::1]:9000", "localhost:9000", "build7", "shop.svc.cluster.local"):
        with Connection(proactor.admin) as connection:
            connection.send(f"GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert connection.response().status == 200


def test_every_member_is_documented(tmp_path: Path) -> None:
    (tmp_path / "halfsync.toml").write_text('lanes.api.paths = ["/api/*"]\n')
    with Watched(tmp_path) as proactor, ExitStack() as stack:
        (connection,) = hold(proactor, stack, "/wait/" + "x" * 300)
        with Connection(proactor.address) as refused:
            refused.send(b"nonsense\r\n\r\n")
            assert refused.response().status == 400
        status = proactor.status("?stacks")
        documented = set(re.findall(r"`([a-z_]+)`", DOCUMENT.read_text().partition("## The answer to")[2]))
        records = (status, status["connections"], status["queue"])
        lists = (status[name][0] for name in ("processes", "lanes", "workers", "refusals"))
        for record in (*records, *lists):
            assert set(record) <= documented
        proactor.go()
        assert connection.response().body == b"ok"
