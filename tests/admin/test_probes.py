"""Probes of an orchestrator: answered whatever the application does, in every model, with and without a supervisor."""

import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import cycle
from pathlib import Path

import pytest

from halfsync.admin.admin_engine import AdminEngine
from halfsync.admin.admin_server import ADMIN_BACKLOG
from halfsync.listening.opening import open_listeners
from halfsync.settings import Settings
from halfsync.shared.scoreboard import Scoreboard
from tests.client import Connection, CutError, build, fetch
from tests.faults.serving import MODELS, Serving, free_port
from tests.wsgi import until

PROMPT_S = 1.0  # that an orchestrator waits for its answer, by default
ON_ITS_WAY_S = (
    0.015  # that a request may be, with a margin; then a crowd may close its connection (engine/eviction.pyx)
)
SECONDS_S = 10.0  # that a connection may last on which nothing happens

APP = """
import os, time
def app(environ, start_response):
    if environ["PATH_INFO"] == "/spin":
        while not os.path.exists("go"):
            sum(range(1_000_000))  # one call into C that keeps the GIL for as long as it takes
    while environ["PATH_INFO"] == "/wait" and not os.path.exists("go"):
        time.sleep(0.005)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.fixture(params=["epoll", "poll"])
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[Scoreboard, tuple[str, int]]]:
    """Return a scoreboard of four slots, and the address of its probes."""
    (listener,) = open_listeners(["127.0.0.1:0"], ADMIN_BACKLOG)
    scoreboard = Scoreboard(4)
    settings = Settings.from_options(poller=request.param, max_stuck=1)
    engine = AdminEngine(settings, [listener.socket.fileno()], scoreboard)
    engine.start()
    yield scoreboard, listener.socket.getsockname()
    engine.close()
    listener.close()
    scoreboard.close()


def test_ready_while_a_process_serves_and_alive_always(asked: tuple[Scoreboard, tuple[str, int]]) -> None:
    scoreboard, address = asked

    def answers() -> tuple[int, int]:
        return fetch(address, "/livez").status, fetch(address, "/readyz").status

    assert answers() == (200, 503)
    slots = [scoreboard.slot(0), scoreboard.slot(3)]
    for slot in slots:
        slot.take()
        assert answers() == (200, 503)
    for slot in slots:
        slot.serve()
        assert answers() == (200, 200)
    slots[0].stop_accepting()
    assert answers() == (200, 200)
    slots[1].stuck = 2
    assert answers() == (200, 503)
    slots[1].stuck = 1
    assert answers() == (200, 200)
    scoreboard.shutting_down = True
    assert answers() == (200, 503)
    ending = fetch(address, "/readyz")
    assert (b"shutting down" in ending.body, ending.one("Retry-After")) == (True, "1")


def test_other_questions_are_refused(asked: tuple[Scoreboard, tuple[str, int]]) -> None:
    _, address = asked
    unknown = fetch(address, "/nothing")
    assert (unknown.status, unknown.one("Content-Type")) == (404, "text/plain; charset=utf-8")
    assert b"/livez" in unknown.body and b"/readyz" in unknown.body
    assert fetch(address, "/livez/more").status == 404
    assert fetch(address, "/livez?verbose").status == 200
    posted = fetch(address, "/livez", method="POST", body=b"")
    assert (posted.status, posted.one("Allow")) == (405, "GET, HEAD")
    assert fetch(address, "/livez", method="POST", body=b"much").status == 413
    with Connection(address) as connection:
        connection.send(build("/livez", method="HEAD"))
        response = connection.response("HEAD")
        assert (response.status, response.body, response.one("Cache-Control")) == (200, b"", "no-store")
        connection.send(build("/livez") * 5)
        assert [connection.response().body for _ in range(5)] == [b"ok\n"] * 5


def test_the_response_says_that_the_connection_stays(asked: tuple[Scoreboard, tuple[str, int]]) -> None:
    _, address = asked
    with Connection(address) as connection:
        for version in ("HTTP/1.0", "HTTP/1.1"):
            connection.send(build("/livez", version=version, fields=[("Connection", "keep-alive")]))
            response = connection.response()
            assert (response.one("Connection"), response.one("Keep-Alive")) == ("keep-alive", "timeout=2")
        connection.send(build("/livez", version="HTTP/1.0"))
        assert connection.response().one("Connection") == "close"
        connection.closed()


def half_a_head(sock: socket.socket) -> None:
    sock.sendall(b"GET /livez HTTP/1.1\r\nHost: ")


def one_answer(sock: socket.socket) -> None:
    sock.sendall(build("/livez"))
    assert sock.recv(12) == b"HTTP/1.1 200"


def many_requests(sock: socket.socket) -> None:
    """Ask until the server takes no more, and read nothing of the answers."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock.setblocking(False)
    with suppress(BlockingIOError, ConnectionError):
        while True:
            sock.sendall(build("/livez") * 20)


def half_a_body(sock: socket.socket) -> None:
    sock.sendall(b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nmuch")


NUISANCES = {
    "silent": lambda _: None,
    "half a head": half_a_head,
    "idle after an answer": one_answer,
    "never reading": many_requests,
    "refused and staying": half_a_body,
}


@pytest.mark.parametrize("number", [64, 500])
@pytest.mark.parametrize("annoy", NUISANCES.values(), ids=NUISANCES)
def test_other_connections_do_not_block_a_probe(
    asked: tuple[Scoreboard, tuple[str, int]], annoy: Callable[[socket.socket], None], number: int
) -> None:
    _, address = asked
    with ExitStack() as stack:
        for _ in range(3):
            for _ in range(number):
                sock = stack.enter_context(socket.create_connection(address, timeout=15))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                annoy(sock)
            for _ in range(5):
                since = time.monotonic()
                assert fetch(address, "/livez").status == 200
                assert time.monotonic() - since < PROMPT_S


def answers(connection: Connection, since: float) -> bool:
    """Send a request, and return whether the answer came. It must, if the request comes soon after the connection."""
    in_time = False
    try:
        connection.send(build("/livez"))
        in_time = time.monotonic() - since < ON_ITS_WAY_S
        assert connection.response().status == 200
    except (CutError, ConnectionError):
        assert not in_time
        return False
    return in_time


def test_many_new_connections_do_not_close_one_whose_request_is_on_its_way(
    asked: tuple[Scoreboard, tuple[str, int]],
) -> None:
    """More of them than there are places, which have come later and said nothing."""
    _, address = asked
    answered = 0
    for _ in range(500):  # on a busy machine this process may be slow itself
        if answered == 10:
            break
        with ExitStack() as stack:
            since = time.monotonic()
            probe = stack.enter_context(Connection(address))
            for _ in range(150):
                silent = stack.enter_context(socket.socket())
                silent.setblocking(False)
                silent.connect_ex(address)
            answered += answers(probe, since)


def test_drips_and_crowds_do_not_keep_a_probe_from_its_answer(
    asked: tuple[Scoreboard, tuple[str, int]],
) -> None:
    _, address = asked
    over = threading.Event()

    def drip() -> None:
        """Hold 100 connections in the middle of a head, and come again with each that is closed."""
        dripping: dict[socket.socket, Iterator[int]] = {}
        while not over.is_set():
            while len(dripping) < 100:
                sock = socket.create_connection(address, timeout=15)
                dripping[sock] = cycle(b"GET /livez HTTP/1.1\r\nX: " + b"y" * 10_000)
            for sock, head in list(dripping.items()):
                try:
                    sock.sendall(bytes([next(head)]))
                except OSError:
                    sock.close()
                    del dripping[sock]
        for sock in dripping:
            sock.close()

    annoying = threading.Thread(target=drip)
    annoying.start()
    try:
        answered = 0
        while answered < 50:
            since = time.monotonic()
            with Connection(address) as connection:
                answered += answers(connection, since)
            assert time.monotonic() - since < PROMPT_S
    finally:
        over.set()
        annoying.join()


@pytest.mark.parametrize("annoy", [lambda _: None, half_a_head, one_answer], ids=["silent", "head", "idle"])
def test_no_connection_stays_for_long(
    asked: tuple[Scoreboard, tuple[str, int]], annoy: Callable[[socket.socket], None]
) -> None:
    _, address = asked
    with Connection(address) as connection:
        since = time.monotonic()
        annoy(connection.socket)
        connection.rest()
        assert time.monotonic() - since < SECONDS_S


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def is_served_and_closed(serving: Serving) -> bool:
    """Send one more request, and return whether the connection ends with the response, as it says."""
    with Connection(serving.address, timeout_s=60) as late:
        late.send(build("/"))
        response = late.response()
        assert response.status == 200
        if response.one("Connection") != "close":
            return False
        late.closed()
        return True


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "supervised"])
def test_answers_while_the_application_spins_and_until_the_end(
    tmp_path: Path, model: tuple[str, ...], workers: tuple[str, ...]
) -> None:
    port = free_port()
    options = (*model, *workers, "--admin-bind", f"127.0.0.1:{port}", "--drain-delay", "1m")
    with Serving(tmp_path, APP, *options) as serving, ExitStack() as stack:
        admin = ("127.0.0.1", port)
        until(lambda: fetch(admin, "/readyz").status == 200)
        assert (
            fetch(serving.address, "/livez").body == b"ok"
        )  # the application's: nothing of it is on the public port
        busy = stack.enter_context(Connection(serving.address, timeout_s=60))
        busy.send(build("/spin"))
        for _ in range(20):
            assert fetch(admin, "/livez").status == fetch(admin, "/readyz").status == 200
        serving.signal(signal.SIGTERM)
        until(lambda: fetch(admin, "/readyz").status == 503)
        assert fetch(admin, "/livez").status == 200
        (tmp_path / "go").touch()
        assert busy.response().body == b"ok"
        until(
            lambda: is_served_and_closed(serving)
        )  # each process learns of the change of readiness a moment later
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


def test_drain_follows_the_delay(tmp_path: Path, model: tuple[str, ...]) -> None:
    with Serving(tmp_path, APP, *model, "--drain-delay", "200ms") as serving:
        assert fetch(serving.address).status == 200
        serving.signal(signal.SIGTERM)
        assert "keeps serving for 0.2 s" in serving.wait_line("drains")
        assert serving.exit_code() == 0


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "supervised"])
@pytest.mark.parametrize("upgrades", [False, True], ids=["at the start", "after an upgrade"])
def test_port_0_is_a_separate_port_for_probes(
    tmp_path: Path, workers: tuple[str, ...], upgrades: bool
) -> None:
    """The line of the start tells it. Neither application nor probes answer what is meant for the other."""
    if upgrades and not workers:
        pytest.skip("an upgrade takes a supervisor")
    with Serving(tmp_path, APP, *workers, "--admin-bind", "127.0.0.1:0", bind="127.0.0.1:0") as serving:
        told = re.search(r", its status on http://127\.0\.0\.1:([0-9]+); ", serving.wait_line("serves"))
        assert told
        admin = ("127.0.0.1", int(told[1]))
        until(lambda: fetch(admin, "/readyz").status == 200)
        if upgrades:
            serving.signal(signal.SIGUSR2)
            serving.wait_line("this program is the server now")
        elif workers:
            serving.signal(signal.SIGHUP)
            serving.wait_line("the reload is complete")
        assert {fetch(serving.address, "/nothing").status for _ in range(20)} == {200}
        assert fetch(admin, "/nothing").status == 404
        until(lambda: fetch(admin, "/readyz").status == 200)


@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=["alone", "supervised"])
@pytest.mark.parametrize("copied", [False, True], ids=["one descriptor", "two"])
def test_a_socket_that_is_passed_for_both_is_refused(
    tmp_path: Path, workers: tuple[str, ...], copied: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed, passed.dup() as copy:
        names = (passed.fileno(), (copy if copied else passed).fileno())
        options = (*workers, "--admin-bind", f"fd://{names[1]}")
        serving = Serving(tmp_path, APP, *options, bind=f"fd://{names[0]}", passed=names)
        try:
            assert serving.exit_code() == 2
            (line,) = serving.lines
            assert "halfsync: --admin-bind: " in line and "an address of their own" in line
        finally:
            serving.__exit__(None, None, None)
