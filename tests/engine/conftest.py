"""The pollers' suites run on every poller, over both kinds of sockets."""

import os
import socket
from collections.abc import Iterator

import pytest

from tests.engine.harness import Connect, Engine, Pair


@pytest.fixture(params=["epoll", "poll"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Return an engine over each poller in turn."""
    made = Engine(request.param)
    yield made
    made.poller.close()
    for fd in made.accepted_fds:
        os.close(fd)


@pytest.fixture(params=["unix", "tcp"])
def connect(request: pytest.FixtureRequest, engine: Engine) -> Iterator[Connect]:
    """Return a function that connects a client and has the engine watch the other end."""
    sockets: list[socket.socket] = []

    def connected() -> Pair:
        if request.param == "unix":
            ours, theirs = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                theirs = socket.create_connection(listener.getsockname())
                ours = listener.accept()[0]
        sockets.extend((ours, theirs))
        return engine.watch(ours), theirs

    yield connected
    for sock in sockets:
        sock.close()
