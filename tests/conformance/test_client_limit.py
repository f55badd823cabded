"""How many connections each client may have, on every model: which ones count, are refused, and fit again."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, Response, build
from tests.conftest import Serve
from tests.proxies import LOCAL, binary, line
from tests.sharing import FORK
from tests.wsgi import Environ, Gate, hello, pattern, until

import halfsync

pytestmark = pytest.mark.plain_transport(
    "process",
    "thread",
    "pool",
    reason="a newcomer for which there is no room gets no answer before the handshake",
)

SEED = 20261126
MOST = 3
REJECTED_LINGERING_MAX = 256  # connections that are rejected and linger, in every model
THREADS = 8  # in the pool no connection of these tests has to wait for another
LIMIT: dict[str, Any] = {"max_connections_per_client": MOST, "threads": THREADS}
LONG: dict[str, Any] = {**LIMIT, "head_timeout": 60.0}
REQUEST = build()
HALF = len(REQUEST) // 2
CLIENT, OTHER = "127.0.0.1", "127.0.0.2"


def connect(server: halfsync.Server, host: str = CLIENT) -> Connection:
    return Connection(socket.create_connection(server.address, timeout=15, source_address=(host, 0)))


def is_served(connection: Connection) -> bool:
    """Make a request, and return whether it was answered, or the connection refused as it must be."""
    with suppress(ConnectionError):  # it may have been closed before the request was sent
        connection.send(build())
    return was_served(connection, connection.response())


def was_served(connection: Connection, response: Response) -> bool:
    if response.status == 200:
        return True
    assert response.status == 503
    assert response.one("Retry-After") == "1"
    assert response.one("Connection") == "close"
    assert connection.cut() == b""
    return False


class Busy:
    """An application that notes how many of its requests ran at one time, in whatever processes."""

    def __init__(self) -> None:
        self._running = FORK.Value("i")
        self._most = FORK.Value("i")

    def __call__(self, environ: Environ, start_response: StartResponse) -> list[bytes]:
        """Take a moment, and answer."""
        with self._running:
            self._running.value += 1
            self._most.value = max(self._most.value, self._running.value)
        time.sleep(0.002)  # what the others need to come in between
        with self._running:
            self._running.value -= 1
        return hello(environ, start_response)

    @property
    def most(self) -> int:
        """The highest number so far."""
        return int(self._most.value)


def fill(server: halfsync.Server, stack: ExitStack, number: int = MOST) -> list[Connection]:
    """Open idle connections that have had a response each, and return them."""
    connections = [stack.enter_context(connect(server)) for _ in range(number)]
    assert all(is_served(connection) for connection in connections)
    return connections


def hold(server: halfsync.Server, stack: ExitStack, number: int = MOST) -> list[Connection]:
    """Open connections with half a request on each: these no pool closes for others that wait."""
    connections = [stack.enter_context(connect(server)) for _ in range(number)]
    for connection in connections:
        connection.send(REQUEST[:HALF])
    return connections


def is_finished(connection: Connection) -> bool:
    """Send the other half, and return whether it was answered."""
    connection.send(REQUEST[HALF:])
    return was_served(connection, connection.response())


def test_one_more_than_the_limit_is_refused_and_others_are_not(serve: Serve) -> None:
    with serve(hello, **LIMIT) as server, ExitStack() as stack:
        other = stack.enter_context(connect(server, OTHER))
        assert is_served(other)
        here = fill(server, stack)
        for _ in range(3):
            with connect(server) as newcomer:
                assert newcomer.response().status == 503  # before it has sent anything
        assert is_served(other)
        assert all(is_served(connection) for connection in here)
        counts = server.statistics()
        assert (counts["limited"], counts["shed"], counts["requests"]) == (3, 3, 2 * MOST + 2)
        assert counts["refused"] == 0


def test_a_closed_connection_makes_room_for_another(serve: Serve) -> None:
    with serve(hello, **LONG) as server, ExitStack() as stack:
        here = hold(server, stack)
        for _ in range(5):
            with connect(server) as newcomer:
                assert not is_served(newcomer)
            here.pop(0).socket.close()
            until(lambda: server.statistics()["open"] == MOST - 1)
            here += hold(server, stack, 1)
        assert all(is_finished(connection) for connection in here)
        assert server.statistics()["limited"] == 5


def test_a_silent_connection_counts(serve: Serve) -> None:
    with serve(hello, **LIMIT) as server, ExitStack() as stack:
        silent = [stack.enter_context(connect(server)) for _ in range(MOST)]
        until(lambda: server.statistics()["accepted"] == MOST)
        with connect(server) as newcomer:
            assert not is_served(newcomer)
        assert all(is_served(connection) for connection in silent)


def test_a_connection_with_a_running_request_counts(serve: Serve) -> None:
    gate = Gate()
    with serve(gate, **LIMIT) as server, ExitStack() as stack:
        waiting = [stack.enter_context(connect(server)) for _ in range(MOST)]
        for connection in waiting:
            connection.send(build("/slow"))
        gate.wait_entered(MOST)
        with connect(server) as newcomer:
            assert not is_served(newcomer)
        gate.opened.set()
        assert [connection.response().body for connection in waiting] == [b"/slow"] * MOST


def test_without_the_setting_no_connection_is_counted(serve: Serve) -> None:
    with serve(hello, threads=THREADS) as server, ExitStack() as stack:
        fill(server, stack, THREADS)
        assert server.statistics()["limited"] == 0


def test_peers_on_unix_sockets_are_not_counted(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with serve(hello, **LIMIT, bind=f"unix:{path}") as server, ExitStack() as stack:
        for _ in range(THREADS):
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(str(path))
            assert is_served(stack.enter_context(Connection(peer)))
        assert server.statistics()["limited"] == 0


def test_ipv4_on_a_listener_of_both_kinds_is_ipv4(serve: Serve) -> None:
    with serve(hello, **LIMIT, bind="[::]:0") as server, ExitStack() as stack:
        port = server.address[1]

        def served(host: str, family: int) -> bool:
            peer = socket.socket(family)
            peer.settimeout(15)
            peer.bind((host, 0))
            peer.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
            return is_served(stack.enter_context(Connection(peer)))

        assert all(served(CLIENT, socket.AF_INET) for _ in range(MOST))
        assert not served(CLIENT, socket.AF_INET)
        assert served(OTHER, socket.AF_INET)
        assert served("::1", socket.AF_INET6)


def test_the_refusal_reaches_a_client_that_is_sending(serve: Serve) -> None:
    with serve(hello, **LIMIT) as server, ExitStack() as stack:
        here = fill(server, stack)
        for _ in range(20):
            with connect(server) as newcomer, suppress(ConnectionError):
                newcomer.send(build(method="POST", body=pattern(60_000)))
                assert not was_served(newcomer, newcomer.response())
        assert all(is_served(connection) for connection in here)


def test_a_refusal_is_logged(serve: Serve, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with serve(hello, **LIMIT, access_log=str(log)) as server, ExitStack() as stack:
        fill(server, stack)
        with connect(server) as newcomer:
            assert newcomer.response().status == 503
        until(lambda: log.exists() and log.read_text().count("\n") == MOST + 1)
    refused = [entry for entry in log.read_text().splitlines() if '"-" 503 24 ' in entry]
    assert [entry.split()[0] for entry in refused] == [CLIENT]


def test_refused_or_closed_in_any_way_exactly_the_limit_fits(serve: Serve) -> None:
    chance = random.Random(SEED)
    print("seed", SEED)
    with serve(hello, **LONG) as server, ExitStack() as stack:
        here = hold(server, stack)
        opened = MOST
        for _ in range(400):
            newcomer = connect(server)
            opened += 1
            match chance.randrange(5):
                case 0:
                    newcomer.reset()
                case 1:
                    newcomer.socket.close()
                case 2:
                    assert not is_served(newcomer)
                    newcomer.socket.close()
                case 3:
                    with suppress(ConnectionError):
                        newcomer.send(build())
                    newcomer.socket.close()
                case 4:  # one of those that are in makes room for another
                    newcomer.socket.close()
                    left = here.pop(chance.randrange(len(here)))
                    left.reset() if chance.random() < 0.5 else left.socket.close()
                    # A closed connection in the backlog would still take the place for a moment.
                    until(lambda: server.statistics()["accepted"] == opened)  # noqa: B023 - it is called at once
                    until(lambda: server.statistics()["open"] < MOST)
                    here += hold(server, stack, 1)
                    opened += 1
        until(lambda: server.statistics()["open"] == MOST)
        with connect(server) as newcomer:
            assert not is_served(newcomer)
        assert all(is_finished(connection) for connection in here)
        for connection in here:
            connection.socket.close()
        until(lambda: server.statistics()["open"] == 0)
        fill(server, stack)
        with connect(server) as newcomer:
            assert not is_served(newcomer)


def test_refused_connections_that_stay_do_not_fill_the_server(serve: Serve) -> None:
    with serve(hello, **LONG) as server, ExitStack() as stack:
        here = hold(server, stack)
        for number in range(REJECTED_LINGERING_MAX + 50):
            stack.enter_context(connect(server))
            until(lambda number=number: server.statistics()["limited"] == number + 1)  # type: ignore[misc]
        assert server.statistics()["open"] <= MOST + REJECTED_LINGERING_MAX
        until(lambda: server.statistics()["open"] == MOST)
        assert is_served(stack.enter_context(connect(server, OTHER)))
        assert all(is_finished(connection) for connection in here)


# --- behind the PROXY protocol --------------------------------------------------------------------

PROXIED: dict[str, Any] = {**LONG, "proxy_protocol": True}


def is_served_for(connection: Connection, header: bytes) -> bool:
    connection.send(header + build())
    return was_served(connection, connection.response())


def hold_for(server: halfsync.Server, stack: ExitStack, headers: list[bytes]) -> list[Connection]:
    """Open a connection for each header that is served, and has half of a further request on it."""
    connections = [stack.enter_context(connect(server)) for _ in headers]
    for connection, header in zip(connections, headers, strict=True):
        assert is_served_for(connection, header)
        connection.send(REQUEST[:HALF])
    return connections


@pytest.mark.parametrize(
    ("clients", "others"),
    [
        ([line("203.0.113.7", 1), binary("203.0.113.7", 2), line("::ffff:203.0.113.7", 3)], "203.0.113.8"),
        ([line("2001:db8::1", 1), binary("2001:db8::2", 2), line("2001:db8::ffff:1", 3)], "2001:db8:0:1::1"),
    ],
    ids=["v4", "v6"],
)
def test_the_client_that_the_proxy_names_counts_and_not_the_proxy(
    serve: Serve, clients: list[bytes], others: str
) -> None:
    with serve(hello, **PROXIED) as server, ExitStack() as stack:
        here = hold_for(server, stack, clients)
        for header in clients:
            with connect(server) as newcomer:
                assert not is_served_for(newcomer, header)
            with connect(server) as newcomer:  # refused at its header, before it has made a request
                newcomer.send(header)
                assert not was_served(newcomer, newcomer.response())
        assert is_served_for(stack.enter_context(connect(server)), line(others, 1))
        assert server.statistics()["limited"] == 2 * len(clients)
        here.pop().socket.close()
        until(lambda: server.statistics()["open"] <= MOST)
        assert is_served_for(stack.enter_context(connect(server)), clients[0])
        assert all(is_finished(connection) for connection in here)


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", binary("203.0.113.7", 1, command=LOCAL), binary()], ids=repr
)
def test_a_client_that_the_proxy_does_not_name_is_not_counted(serve: Serve, header: bytes) -> None:
    with serve(hello, **PROXIED) as server, ExitStack() as stack:
        here = [stack.enter_context(connect(server)) for _ in range(THREADS)]
        assert all(is_served_for(connection, header) for connection in here)


def test_a_connection_is_not_counted_before_its_header(serve: Serve) -> None:
    with serve(hello, **PROXIED) as server, ExitStack() as stack:
        late = [stack.enter_context(connect(server)) for _ in range(THREADS)]
        until(lambda: server.statistics()["accepted"] == THREADS)
        header = line("203.0.113.7", 1)
        assert [is_served_for(connection, header) for connection in late] == [True] * MOST + [False] * (
            THREADS - MOST
        )


def test_refused_or_closed_behind_a_proxy_exactly_the_limit_fits(serve: Serve) -> None:
    chance = random.Random(SEED)
    print("seed", SEED)
    header = line("203.0.113.7", 1)
    with serve(hello, **PROXIED) as server, ExitStack() as stack:
        here = hold_for(server, stack, [header] * MOST)
        for number in range(150):
            newcomer = connect(server)
            newcomer.send(header[: chance.randrange(1, len(header))] if chance.random() < 0.3 else header)
            newcomer.reset() if chance.random() < 0.5 else newcomer.socket.close()
            until(lambda number=number: server.statistics()["accepted"] == MOST + number + 1)  # type: ignore[misc]
        until(lambda: server.statistics()["open"] == MOST)
        with connect(server) as newcomer:
            assert not is_served_for(newcomer, header)
        for connection in here:
            connection.socket.close()
        until(lambda: server.statistics()["open"] == 0)
        again = [stack.enter_context(connect(server)) for _ in range(MOST + 1)]
        assert [is_served_for(connection, header) for connection in again] == [True] * MOST + [False]


@pytest.mark.parametrize("header", [b"", line("203.0.113.7", 1)], ids=["peers", "proxied"])
def test_no_more_than_the_limit_are_served_at_one_time(serve: Serve, header: bytes) -> None:
    crowd, each = 12, 20
    busy = Busy()
    wrong: list[str] = []

    def come(server: halfsync.Server, number: int) -> None:
        try:
            for _ in range(each):
                with connect(server) as connection:
                    with suppress(ConnectionError):
                        connection.send(header + build())
                    was_served(connection, connection.response())
        except (OSError, AssertionError) as error:
            wrong.append(f"client {number}: {error!r}")

    with serve(busy, **LIMIT, proxy_protocol=bool(header)) as server, ExitStack() as stack:
        clients = [threading.Thread(target=come, args=(server, number)) for number in range(crowd)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert not wrong
        counts = server.statistics()
        assert counts["requests"] + counts["limited"] == counts["accepted"] == crowd * each
        assert 0 < busy.most <= MOST
        until(lambda: server.statistics()["open"] == 0)
        again = [stack.enter_context(connect(server)) for _ in range(MOST + 1)]
        served = []
        for connection in again:
            connection.send(header + build())
            served.append(was_served(connection, connection.response()))
        assert served == [True] * MOST + [False]


# --- streams --------------------------------------------------------------------------------------


class Echo(halfsync.StreamHandler):
    """Sends what it receives."""

    def received(self, data: bytes) -> Iterator[bytes]:
        yield data


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
@pytest.mark.parametrize("header", [b"", line("203.0.113.7", 1)], ids=["peers", "proxied"])
def test_a_stream_past_the_limit_is_reset(serve: Serve, header: bytes) -> None:
    with serve(Echo, **LIMIT, stream=True, proxy_protocol=bool(header)) as server, ExitStack() as stack:
        here = [stack.enter_context(connect(server)) for _ in range(MOST)]
        for connection in here:
            connection.send(header + b"here")
            assert connection.socket.recv(10) == b"here"
        with pytest.raises(ConnectionError), connect(server) as newcomer:
            newcomer.send(header)
            assert newcomer.socket.recv(1) is None, "it was closed without a reset"
        for connection in here:
            connection.send(b"still")
            assert connection.socket.recv(10) == b"still"
        counts = server.statistics()
        assert (counts["limited"], counts["shed"], counts["refused"]) == (1, 1, 0)
