"""Lanes and the share of a client, on the wire: what waits for what, and what does not."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from socket import create_connection
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build
from tests.conftest import Serve
from tests.proxies import line
from tests.wsgi import TEXT, Environ, until, wait

import halfsync

pytestmark = pytest.mark.only_on("proactor", reason="the others have no queue of requests")

SLOW = {"paths": ["/slow/*"]}
FAST = {"paths": ["/fast"], "priority": 10}
WAITING = 50
CLIENT, OTHER = "127.0.0.1", "127.0.0.2"


class Turns:
    """An application whose requests below /slow/ wait until each is released; it notes the path of each that runs."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.all_released = threading.Event()
        self._released: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        path = environ["PATH_INFO"]
        self.begun.append(path)
        if "slow" in path:
            event = self._event(path)
            until(lambda: event.is_set() or self.all_released.is_set())
        start_response("200 OK", [*TEXT])
        return [path.encode("latin-1")]

    def _event(self, path: str) -> threading.Event:
        with self._lock:
            return self._released.setdefault(path, threading.Event())

    def release(self, path: str) -> None:
        self._event(path).set()


def get(path: str) -> bytes:
    return build(path)


def ask(stack: ExitStack, address: tuple[str, int], path: str, host: str = CLIENT) -> Connection:
    """Send a request on a connection of its own."""
    sock = create_connection(address, timeout=30, source_address=(host, 0))
    connection = stack.enter_context(Connection(sock))
    connection.send(get(path))
    return connection


def test_a_fast_lane_waits_for_none_of_fifty_slow_requests(serve: Serve) -> None:
    app = Turns()
    with serve(app, lanes={"slow": SLOW, "fast": FAST}) as server, ExitStack() as stack:
        stack.callback(app.all_released.set)
        slow = [ask(stack, server.address, f"/slow/{number}") for number in range(WAITING)]
        until(lambda: server.statistics()["lane.slow.queued"] == WAITING - 2)
        fast = stack.enter_context(Connection(server.address))
        for _ in range(20):
            fast.send(get("/fast"))
            assert fast.response().body == b"/fast"
        fast.send(get("/"))
        assert fast.response().body == b"/", "the default lane is guaranteed a thread, too"
        counts = server.statistics()
        assert {name: counts[name] for name in counts if name.startswith("lane.")} == {
            "lane.default.queued": 0, "lane.default.busy": 0, "lane.slow.queued": WAITING - 2, "lane.slow.busy": 2,
            "lane.fast.queued": 0, "lane.fast.busy": 0,
        }  # fmt: skip
        assert counts["queued"] == WAITING - 2
        app.all_released.set()
        assert {connection.response().body for connection in slow} == {
            f"/slow/{number}".encode() for number in range(WAITING)
        }
        until(lambda: server.statistics()["finished"] == server.statistics()["requests"] == WAITING + 21)


def test_a_lane_has_a_limit_and_a_queue_of_its_own(serve: Serve) -> None:
    app = Turns()
    lanes = {"slow": SLOW | {"max_threads": 1, "queue_size": 3}}
    with serve(app, lanes=lanes) as server, ExitStack() as stack:
        stack.callback(app.all_released.set)
        slow = [ask(stack, server.address, "/slow/0")]
        until(lambda: server.statistics()["lane.slow.busy"] == 1)
        for number in range(1, 4):
            slow.append(ask(stack, server.address, f"/slow/{number}"))
            until(lambda: server.statistics()["lane.slow.queued"] == len(slow) - 1)
        refused = ask(stack, server.address, "/slow/4")
        assert refused.response().status == 503
        refused.send(get("/other"))
        assert refused.response().body == b"/other", "its connection stays, and other lanes have room"
        counts = server.statistics()
        assert (counts["lane.slow.queued"], counts["lane.slow.busy"], counts["shed"]) == (3, 1, 1)
        for number, connection in enumerate(slow):
            app.release(f"/slow/{number}")
            assert connection.response().status == 200
        assert app.begun == ["/slow/0", "/other", "/slow/1", "/slow/2", "/slow/3"]


@pytest.mark.parametrize(
    "path",
    ["/slow/x", "/%73low/x", "/slow%2fx", "//slow/x", "/./slow/x", "/y/../slow/x", "/fast/../slow/x", "/slow/../fast",
     "/%2e%2E/slow/x", "http://a/slow/x", "/slow/x?y=/fast"],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_to_a_better_lane(serve: Serve, path: str) -> None:
    """What may lead to the slow handler, or to a path below /slow/, goes to the slow lane, which is full."""
    app = Turns()
    lanes = {"slow": SLOW | {"max_threads": 1, "queue_size": 1, "priority": -1}, "fast": FAST}
    with serve(app, lanes=lanes) as server, ExitStack() as stack:
        stack.callback(app.all_released.set)
        for number in range(2):
            ask(stack, server.address, f"/slow/{number}")
            until(lambda: server.statistics()["lane.slow.busy"] == 1)
        until(lambda: server.statistics()["lane.slow.queued"] == 1)
        assert ask(stack, server.address, path).response().status == 503


Connect = Callable[[ExitStack, halfsync.Server, str], Connection]


def by_address(stack: ExitStack, server: halfsync.Server, client: str) -> Connection:
    return stack.enter_context(Connection(create_connection(server.address, 30, source_address=(client, 0))))


def by_header(stack: ExitStack, server: halfsync.Server, client: str) -> Connection:
    connection = stack.enter_context(Connection(server.address))
    connection.send(line(client.replace("127", "192"), 1234))
    return connection


@pytest.mark.parametrize("connect", [by_address, by_header])
def test_a_greedy_client_holds_its_share_while_another_waits(serve: Serve, connect: Connect) -> None:
    app = Turns()
    settings = {"client_share": 0.5, "proxy_protocol": connect is by_header}
    with serve(app, **settings) as server, ExitStack() as stack:
        stack.callback(app.all_released.set)

        def send(client: str, path: str) -> None:
            connect(stack, server, client).send(get(path))
            expected[0] += 1
            until(lambda: server.statistics()["requests"] == expected[0])

        def begun_after(released: str) -> str:
            number = len(app.begun)
            app.release(released)
            until(lambda: len(app.begun) > number)
            assert len(app.begun) == number + 1
            return app.begun[-1]

        expected = [0]
        for number in range(8):
            send(CLIENT, f"/slow/greedy/{number}")
        until(lambda: len(app.begun) == 4)  # all threads: no other client waits
        send(OTHER, "/slow/other/0")
        send(OTHER, "/slow/other/1")
        assert begun_after("/slow/greedy/0") == "/slow/other/0"
        assert begun_after("/slow/greedy/1") == "/slow/other/1"
        assert begun_after("/slow/greedy/2") == "/slow/greedy/4", (
            "it is below its share, and has waited longest"
        )
        assert begun_after("/slow/other/0") == "/slow/greedy/5", "no other client waits"


def test_a_turn_that_is_stuck_leaves_its_lane(serve: Serve) -> None:
    app = Turns()
    lanes = {"slow": SLOW | {"max_threads": 1}}
    with serve(app, lanes=lanes, request_timeout=0.2, max_stuck=4, threads=2) as server, ExitStack() as stack:
        stack.callback(app.all_released.set)
        stuck = [ask(stack, server.address, f"/slow/{number}") for number in range(3)]
        assert {one.response().status for one in stuck} == {504}
        until(lambda: server.statistics()["stuck"] == 3)
        until(lambda: server.statistics()["lane.slow.busy"] == 0)
        app.release("/slow/in time")
        assert ask(stack, server.address, "/slow/in%20time").response().status == 200
        app.all_released.set()
        until(lambda: server.statistics()["stuck"] == 0)
        with ExitStack() as more:
            assert {ask(more, server.address, "/slow/late").response().status for _ in range(5)} == {200}
            assert ask(more, server.address, "/other").response().status == 200


def test_a_request_waits_in_its_lane_for_queue_timeout_at_most(serve: Serve) -> None:
    app = Turns()
    with (
        serve(app, lanes={"slow": SLOW | {"max_threads": 1}}, queue_timeout=0.1) as server,
        ExitStack() as stack,
    ):
        stack.callback(app.all_released.set)
        first = ask(stack, server.address, "/slow/0")
        until(lambda: server.statistics()["lane.slow.busy"] == 1)
        assert ask(stack, server.address, "/slow/1").response().status == 503
        assert server.statistics()["lane.slow.queued"] == 0
        app.release("/slow/0")
        assert first.response().status == 200


class Client:
    """Asks for one path again and again, on one connection."""

    def __init__(self, connection: Connection, path: str, ended: threading.Event) -> None:
        self.statuses: list[int] = []
        self._connection, self._path, self._ended = connection, path, ended
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self) -> None:
        while not self._ended.is_set():
            self._connection.send(get(self._path))
            self.statuses.append(self._connection.response().status)


def test_one_lane_is_overloaded_and_another_is_not(serve: Serve) -> None:
    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        time.sleep(0.005)
        start_response("200 OK", [*TEXT])
        return [b"done"]

    ended = threading.Event()
    settings = {"overload_control": True, "overload_interval": 0.05, "overload_target": 0.02, "threads": 2}
    with serve(app, lanes={"busy": {"paths": ["/busy"]}}, **settings) as server, ExitStack() as stack:
        busy = [Client(stack.enter_context(Connection(server.address)), "/busy", ended) for _ in range(60)]
        calm = Client(stack.enter_context(Connection(server.address)), "/calm", ended)
        until(lambda: server.statistics()["shed"] > 100 and len(calm.statuses) > 50)
        ended.set()
        for client in [*busy, calm]:
            client.thread.join(30)
            assert not client.thread.is_alive()
        assert set(calm.statuses) == {200}
        statuses = [status for client in busy for status in client.statuses]
        assert set(statuses) == {200, 503}
        assert server.statistics()["shed"] == statuses.count(503)


def test_lanes_by_method(serve: Serve) -> None:
    entered, go = threading.Event(), threading.Event()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        if environ["REQUEST_METHOD"] == "DELETE":
            entered.set()
            wait(go)
        start_response("200 OK", [*TEXT])
        return [b""]

    with serve(app, lanes={"deletes": {"methods": ["DELETE"]}}) as server, ExitStack() as stack:
        stack.callback(go.set)
        connection = stack.enter_context(Connection(server.address))
        connection.send(build("/x", method="DELETE"))
        wait(entered)
        assert server.statistics()["lane.deletes.busy"] == 1
        go.set()
        assert connection.response("DELETE").status == 200
