"""The place of a connection in the models with threads for connections: which thread gives it back, and when."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

import halfsync
from tests.client import Connection, build
from tests.wsgi import hello, until, wait

LOOKS = 5  # of the accepting thread for a free place


def ask(connection: Connection) -> int:
    connection.send(build("/"))
    return connection.response().status


class Room:
    """The free places, with a door: while it is closed no thread can give one back."""

    def __init__(self, room: Any) -> None:
        self._room = room
        self.looks = threading.Semaphore(0)  # released whenever a thread has found no free place
        self.opened = threading.Event()

    def acquire(self, timeout: float | None = None) -> bool:
        found: bool = self._room.acquire(timeout)
        if not found and timeout:
            self.looks.release()
        return found

    def release(self) -> None:
        wait(self.opened)
        self._room.release()


def test_one_connection_makes_room_however_long_its_thread_takes_to_end() -> None:
    server = halfsync.Server(hello, bind="127.0.0.1:0", model="thread", max_connections=2)
    model: Any = server._model
    with server, ExitStack() as stack:
        first, second = (stack.enter_context(Connection(server.address)) for _ in range(2))
        assert [ask(first), ask(second)] == [200, 200]
        model._room = room = Room(model._room)
        stack.callback(room.opened.set)
        third = stack.enter_context(Connection(server.address))
        third.send(build("/"))
        first.closed()
        for _ in range(LOOKS):
            assert room.looks.acquire(timeout=15)
        room.opened.set()
        assert third.response().status == 200
        assert ask(second) == 200, "another connection was closed for the same newcomer"
        assert server.statistics()["made_room"] == 1


class LateRoom(Room):
    """A place that is given back just after the accepting thread has looked for one in vain."""

    def __init__(self, room: Any, model: Any) -> None:
        super().__init__(room)
        self._ended, end = threading.Event(), model.end
        self.looked = False

        def end_and_tell(client: Any) -> None:
            end(client)
            self._ended.set()

        model.end = end_and_tell

    def acquire(self, timeout: float | None = None) -> bool:
        found = super().acquire(timeout)
        if not found and timeout == 0 and self.looked and not self.opened.is_set():
            self.opened.set()
            wait(self._ended)
        self.looked = self.looked or (not found and bool(timeout))
        return found


def test_a_place_that_becomes_free_between_two_looks_is_taken() -> None:
    server = halfsync.Server(hello, bind="127.0.0.1:0", model="thread", max_connections=2)
    model: Any = server._model
    with server, ExitStack() as stack:
        first, second = (stack.enter_context(Connection(server.address)) for _ in range(2))
        assert [ask(first), ask(second)] == [200, 200]
        model._room = room = LateRoom(model._room, model)
        stack.callback(room.opened.set)
        third = stack.enter_context(Connection(server.address))
        third.send(build("/"))
        first.closed()
        assert third.response().status == 200
        assert ask(second) == 200, "another connection was closed for the same newcomer"
        assert server.statistics()["made_room"] == 1


class Threads:
    """The threads of a pool, which refuse a job for lack of memory once they are set to."""

    def __init__(self, threads: Any) -> None:
        self._threads = threads
        self.fails = False

    def append(self, job: Callable[[], object]) -> bool:
        if self.fails:
            self.fails = False
            raise MemoryError
        return bool(self._threads.append(job))

    def close(self) -> None:
        self._threads.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_connection_that_cannot_be_put_back_is_closed() -> None:
    held, entered = threading.Event(), threading.Event()

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/held":
            entered.set()
            wait(held)
        return hello(environ, start_response)

    server = halfsync.Server(
        application, bind="127.0.0.1:0", model="pool", threads=1, queue_size=8, max_connections=2
    )
    model: Any = server._model
    with server, ExitStack() as stack:
        stack.callback(held.set)
        model._threads = threads = Threads(model._threads)
        unlucky, other = (stack.enter_context(Connection(server.address)) for _ in range(2))
        unlucky.send(build("/held"))
        wait(entered)
        other.send(build("/"))
        until(lambda: server.statistics()["queued"] == 1)
        threads.fails = True
        held.set()
        assert unlucky.response().status == 200
        unlucky.closed()
        assert other.response().status == 200
        until(lambda: server.statistics()["open"] == 1)
        for _ in range(4):  # its place is free, and the list of those that could make room is whole
            newcomer = stack.enter_context(Connection(server.address))
            assert ask(newcomer) == 200
