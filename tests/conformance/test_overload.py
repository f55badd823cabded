"""An overloaded queue: 503 for requests that have waited too long, while their connections stay."""

import threading
import time
from contextlib import ExitStack
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build
from tests.conftest import Serve
from tests.wsgi import EVENT_TIMEOUT_S, TEXT, Environ, until

pytestmark = pytest.mark.only_on("proactor", "pool", reason="the others have no queue")

TURN_S = 0.005
CLIENTS = (
    60  # each with one request under way: it waits for TURN_S * CLIENTS, which is past the limit of 9 turns
)
ENOUGH = 50  # answers to see what most of them are
SETTINGS = {"threads": 1, "overload_control": True, "overload_interval": 0.05, "overload_target": 0.02}


def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
    time.sleep(TURN_S)
    start_response("200 OK", [*TEXT])
    return [b"done"]


class Client:
    """Asks again and again on one connection, until it is told to end.

    age_s: how long ago its requests came to a proxy; None: it does not say.
    """

    def __init__(self, connection: Connection, ended: threading.Event, age_s: float | None = None) -> None:
        self.statuses: list[int] = []
        self.retry_after: set[str] = set()
        self._connection = connection
        self._ended = ended
        self._age_s = age_s
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self) -> None:
        while not self._ended.is_set():
            came = [] if self._age_s is None else [("X-Request-Start", f"t={time.time() - self._age_s:.3f}")]
            self._connection.send(build(fields=came))
            response = self._connection.response()
            self.statuses.append(response.status)
            if response.status == 503:
                self.retry_after.add(response.one("Retry-After") or "")


def test_a_request_that_waits_too_long_is_refused_and_its_connection_stays(serve: Serve) -> None:
    ended = threading.Event()
    with serve(app, **SETTINGS) as server, ExitStack() as stack:
        clients = [Client(stack.enter_context(Connection(server.address)), ended) for _ in range(CLIENTS)]
        until(lambda: server.statistics()["shed"] > 2 * CLIENTS)
        ended.set()
        for client in clients:
            client.thread.join(EVENT_TIMEOUT_S)
            assert not client.thread.is_alive(), "a request was not answered, or its connection was closed"
        statuses = [status for client in clients for status in client.statuses]
        assert set(statuses) == {200, 503}
        counts = server.statistics()
        assert counts["shed"] == statuses.count(503)
        assert counts["requests"] == len(statuses)
        assert counts["finished"] == statuses.count(200)
        assert all(after.isdigit() and int(after) >= 1 for client in clients for after in client.retry_after)
        assert any(503 in client.statuses and 200 in client.statuses for client in clients)
        # Once nothing waits, it is over.
        for client in clients[:3]:
            client._connection.send(build())
            assert client._connection.response().status == 200


def test_it_can_be_turned_off(serve: Serve) -> None:
    ended = threading.Event()
    with serve(app, **SETTINGS | {"overload_control": False}) as server, ExitStack() as stack:
        clients = [Client(stack.enter_context(Connection(server.address)), ended) for _ in range(CLIENTS)]
        until(lambda: server.statistics()["finished"] > 3 * CLIENTS)
        ended.set()
        for client in clients:
            client.thread.join(EVENT_TIMEOUT_S)
            assert set(client.statuses) == {200}
        assert server.statistics()["shed"] == 0


def test_a_burst_is_served_whole(serve: Serve) -> None:
    with serve(app, **SETTINGS) as server, ExitStack() as stack:
        for _ in range(2):
            burst = [stack.enter_context(Connection(server.address)) for _ in range(CLIENTS)]
            for connection in burst:
                connection.send(build())
            assert {connection.response().status for connection in burst} == {200}
        assert server.statistics()["shed"] == 0


def test_time_at_a_trusted_proxy_counts_once_the_queue_is_overloaded(serve: Serve) -> None:
    """The requests of one client came to its proxy an hour ago, those of the others just now."""
    ended = threading.Event()
    with serve(app, **SETTINGS) as server, ExitStack() as stack:
        clients = [
            Client(stack.enter_context(Connection(server.address)), ended, 3600.0 * (number == 0))
            for number in range(CLIENTS)
        ]
        until(lambda: clients[0].statuses.count(503) >= ENOUGH)
        ended.set()
        for client in clients:
            client.thread.join(EVENT_TIMEOUT_S)
        old, *others = (client.statuses for client in clients)
        old = old[old.index(503) :]  # before, the queue may not have been overloaded
        served = sum(statuses.count(200) for statuses in others) / sum(map(len, others))
        assert old.count(200) / len(old) < served / 2, (
            "its requests are refused while the queue is overloaded"
        )
