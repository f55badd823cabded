"""Serving processes that replace each other, as under a supervisor: each serves, is ordered to hand off, and ends."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from halfsync.runtime.signals import Signals
from halfsync.server import start_in_front
from tests.client import Connection
from tests.conformance.conftest import MODELS
from tests.conformance.test_handing_off import WAIT_S, Load, ask, named
from tests.seated import make_server
from tests.sharing import FORK
from tests.wsgi import EVENT_TIMEOUT_S, wait

ROUNDS = 6
IDLE = 20
THREADS = 4

Ends = tuple[socket.socket, socket.socket]


def live(name: str, settings: dict[str, Any], ends: Ends, ready: Any) -> None:
    """Be a serving process: serve until SIGTERM, then leave, and end with the last connection."""
    handover = (ends[0].fileno(), ends[1].fileno())
    server = make_server(named(name), threads=THREADS, handover=handover, **settings)
    for end in ends:
        end.close()
    with Signals() as signals:
        main_thread = start_in_front(server, signals)
        ready.set()
        while not server.wait(0):
            number = signals.wait(main_thread.watched, main_thread.timeout())
            if number == signal.SIGTERM:
                server.hand_off()
            main_thread.turn()
    assert server.close(EVENT_TIMEOUT_S)


class Generation:
    """The processes that serve on one listener, oldest first."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        # In the model pool a connection that has idled for a second is closed for one that waits for its thread.
        self.idle = THREADS if settings.get("model") == "pool" else IDLE
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.address: tuple[str, int] = self._listener.getsockname()
        self.processes: list[BaseProcess] = []

    def begin(self, name: str) -> None:
        """Start one more, and wait until it serves."""
        ready = FORK.Event()
        settings = self._settings | {"bind": f"fd://{self._listener.fileno()}"}
        process = FORK.Process(target=live, args=(name, settings, self._ends, ready))
        process.start()
        wait(ready)
        self.processes.append(process)

    def retire(self) -> None:
        """Tell the oldest to leave, and wait until it has ended."""
        process = self.processes.pop(0)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        process.join(WAIT_S)
        assert process.exitcode == 0

    def close(self) -> None:
        """End all that are left."""
        for process in self.processes:
            process.kill()
            process.join()
        for one in (self._listener, *self._ends):
            one.close()


@contextmanager
def serving(settings: dict[str, Any]) -> Iterator[Generation]:
    generation = Generation(settings)
    try:
        yield generation
    finally:
        generation.close()


@pytest.fixture(params=MODELS)
def generation(request: pytest.FixtureRequest) -> Iterator[Generation]:
    """Return serving processes of each model in turn; none is begun."""
    with serving(MODELS[request.param]) as generation:
        yield generation


def test_connections_outlive_their_processes(generation: Generation) -> None:
    generation.begin("0")
    crowd = [Connection(generation.address) for _ in range(generation.idle)]
    try:
        assert {ask(connection) for connection in crowd} == {"0"}
        generation.begin("1")
        generation.begin("2")
        generation.retire()
        names = [ask(connection) for connection in crowd]
        assert set(names) <= {"1", "2"}
        generation.retire()
        assert {ask(connection) for connection in crowd} == {"2"}
    finally:
        for connection in crowd:
            connection.socket.close()


def test_processes_take_turns_under_load_and_no_request_fails(generation: Generation) -> None:
    generation.begin("0")
    generation.begin("1")
    load = Load(generation.address, keeping=6, renewing=2)
    try:
        for turn in range(ROUNDS):
            load.moves_on(2)
            generation.begin(str(turn + 2))
            generation.retire()
            assert not load.failures, load.failures
        load.moves_on(2)
    finally:
        load.stop()
    assert not load.failures, load.failures
