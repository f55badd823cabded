"""What a server costs while it serves: measured on real servers, without what connections cost to open."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from halfsync.lab import machine, steady
from halfsync.lab.errors import MeasureError
from halfsync.lab.laboratory import Laboratory, Wanted
from halfsync.lab.load import Load
from halfsync.lab.server import ServerUnderTest
from halfsync.lab.steady import holding, sockets_of, warm


@pytest.fixture
def laboratory() -> Laboratory:
    return Laboratory(machine.read(), Wanted(), time.monotonic() + 100)


@pytest.fixture
def server(laboratory: Laboratory) -> Iterator[ServerUnderTest]:
    with laboratory.serving("--model", "thread") as server:
        yield server


def test_idle_clients_are_held_each_with_a_thread_of_the_server(
    laboratory: Laboratory, server: ServerUnderTest
) -> None:
    def threads() -> int:
        return len(os.listdir(f"/proc/{server.pid}/task"))  # noqa: PTH208 - as the module does

    warm(server, "/")
    assert server.settle()
    before = threads()
    with holding(laboratory, server, 20, "/") as opened_s:
        assert threads() == before + 20
    assert opened_s > 0


def test_cpu_is_that_of_the_load(laboratory: Laboratory, server: ServerUnderTest) -> None:
    """A request that burns 2 ms costs about so much, and a server that does nothing else uses one processor at most."""
    load = Load(server.port, 2, 1.0, warm_up_s=0.3, paths=(("/burn/2", 1.0),))
    found = steady.steady(laboratory, server, load)
    assert 1900 < found.cpu_us < 3500
    assert 0 < found.cpu < 1.3
    assert found.outcome.errors == 0


def test_nothing_answered_is_an_error_that_says_what_happened(
    laboratory: Laboratory, server: ServerUnderTest
) -> None:
    load = Load(server.port, 2, 0.3, warm_up_s=0.1, paths=(("/nothing", 1.0),))
    with pytest.raises(MeasureError, match=r"no request was answered: errors \d+"):
        steady.steady(laboratory, server, load)


def test_a_server_that_is_gone_has_no_first_answer(laboratory: Laboratory) -> None:
    with laboratory.serving() as server:
        pass
    with pytest.raises(MeasureError, match="a first request for /x had no answer: ConnectionRefusedError"):
        warm(server, "/x")


def test_sockets_are_counted_among_descriptors() -> None:
    before = sockets_of(os.getpid(), 0)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.socket())
        assert sockets_of(os.getpid(), 0) == before + 3
        assert sockets_of(os.getpid(), 100_000) == 0
    with open(os.devnull) as _:  # noqa: PTH123 - a descriptor that is no socket
        assert sockets_of(os.getpid(), 0) == before
    assert sockets_of(2**22 + 1, 0) == 0
