"""`halfsync.disconnected`: a running application can check whether its client has disconnected."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, build
from tests.conftest import Serve
from tests.sharing import FORK, Notes
from tests.wsgi import EVENT_TIMEOUT_S, TEXT, Environ, pattern, until, wait

MIB = 1 << 20


class Asking:
    """An application that asks until its client is gone, or the test says that it may end."""

    def __init__(self, first: bytes = b"", *, status: str = "200 OK") -> None:
        self.first, self.status = first, status
        self.entered, self.enough = FORK.Event(), FORK.Event()
        self.told = Notes()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        """Send the first piece, if there is one, and then ask."""
        start_response(self.status, [*TEXT])
        return self.ask(environ["halfsync.disconnected"])

    def ask(self, disconnected: Any) -> Iterator[bytes]:
        if self.first:
            yield self.first
        self.told.append(disconnected())
        self.entered.set()
        deadline = time.monotonic() + EVENT_TIMEOUT_S
        while not (gone := disconnected()) and not self.enough.is_set() and time.monotonic() < deadline:
            time.sleep(0.001)
        self.told.append(gone)
        yield b"end"


def told_at_the_end(serve: Serve, app: Asking, way: str) -> bool:
    """Let a client send a request and disconnect while the application runs; return what the application saw last."""
    with serve(app) as server:
        connection = Connection(server.address)
        connection.send(build())
        wait(app.entered)
        if way == "close":
            connection.socket.close()
        else:
            connection.reset()
        until(lambda: len(app.told.read()) == 2)
        return bool(app.told.read()[1])


@pytest.mark.parametrize(("first", "way"), [(b"", "close"), (b"", "reset"), (b"begun", "reset")])
def test_a_client_that_disconnects_is_noticed(serve: Serve, first: bytes, way: str) -> None:
    assert told_at_the_end(serve, Asking(first), way) is True


@pytest.mark.only_on(
    "proactor", reason="a thread that sends to its client itself does not run the application then"
)
@pytest.mark.parametrize("way", ["close", "reset"])
def test_it_is_noticed_while_the_engine_sends(serve: Serve, way: str) -> None:
    assert told_at_the_end(serve, Asking(pattern(8 * MIB)), way) is True


def test_a_client_that_stays_is_not_reported_as_disconnected(serve: Serve) -> None:
    app = Asking()
    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build())
        wait(app.entered)
        app.enough.set()
        assert connection.response().body == b"end"
        assert app.told.read() == [False, False]


def test_a_client_that_only_ends_its_sending_is_served(serve: Serve) -> None:
    """It is asked whether it still reads, by an interim response, and does not answer with a reset."""
    app = Asking()
    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build())
        connection.socket.shutdown(socket.SHUT_WR)
        wait(app.entered)
        assert connection.head().status == 100
        app.enough.set()
        assert connection.response().body == b"end"
        assert app.told.read() == [False, False]


def test_http_1_0_is_sent_no_interim_response(serve: Serve) -> None:
    app = Asking()
    with serve(app) as server, Connection(server.address) as connection:
        connection.send(build(version="HTTP/1.0"))
        connection.socket.shutdown(socket.SHUT_WR)
        wait(app.entered)
        app.enough.set()
        assert connection.response().body == b"end"


def test_it_is_for_the_turn_and_its_own_thread(serve: Serve) -> None:
    kept: list[Any] = []
    errors = Notes()

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        asked = environ["halfsync.disconnected"]

        def ask() -> None:
            try:
                asked()
            except Exception as error:  # noqa: BLE001 - reported to the test
                errors.append(str(error))

        if kept:
            try:
                kept[0]()
            except Exception as error:  # noqa: BLE001
                errors.append(str(error))
        kept.append(asked)
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        start_response("200 OK", [*TEXT])
        return [b"done"]

    with serve(app, threads=1) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build())
            assert connection.response().body == b"done"
    told = errors.read()
    assert "must be called in the thread" in told[0]
    assert "had ended" in told[1]
    assert "must be called in the thread" in told[2]
