"""Responses of every size to readers of every speed, through memory, disk and back-pressure."""

import functools
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse

import pytest
from tests.client import Connection, CutError, build, fetch, slow_reader
from tests.conftest import Serve
from tests.sharing import FORK, open_files
from tests.wsgi import TEXT, Environ, pattern, until, wait

KIB, MIB = 1 << 10, 1 << 20
PIECE = 64 * KIB


@functools.lru_cache(maxsize=1)
def kept_pattern(size: int) -> bytes:
    """Return the pattern of that size, which may take seconds to make on a busy machine."""
    return pattern(size)


def bodies(size: int) -> Iterator[bytes]:
    """Yield the pattern of that size in pieces."""
    data = kept_pattern(size)
    for at in range(0, size, PIECE):
        yield data[at : at + PIECE]


class Counting:
    """Parts of responses, which are counted in any process."""

    def __init__(self) -> None:
        self.ended = FORK.Event()
        self._made = FORK.Value("q")

    @property
    def made(self) -> int:
        """How many bytes of the responses were made in pieces so far."""
        return int(self._made.value)

    def iterate(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Count the parts as they are taken, and report the end."""
        try:
            for part in parts:
                with self._made:
                    self._made.value += len(part)
                yield part
        finally:
            self.ended.set()


class Maker(Counting):
    """An application that makes a response of the size in its path, and reports its progress, in any process."""

    def __init__(self, *, pieces: bool = True) -> None:
        super().__init__()
        self.pieces = pieces

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer with the pattern, in pieces or as a whole."""
        size = int(environ["PATH_INFO"][1:])
        if self.pieces:
            start_response("200 OK", [*TEXT])
            return self.iterate(bodies(size))
        start_response("200 OK", [*TEXT])
        return [pattern(size)]


@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "pieces"])
@pytest.mark.parametrize("size", [10, PIECE - 1, PIECE, PIECE + 1, MIB, 50 * MIB])
def test_responses_of_every_size(serve: Serve, size: int, pieces: bool) -> None:
    with serve(Maker(pieces=pieces)) as server, Connection(server.address) as connection:
        for _ in range(2):
            connection.send(build(f"/{size}"))
            response = connection.response()
            assert len(response.body) == size
            assert hashlib.md5(response.body).digest() == hashlib.md5(pattern(size)).digest()


HOLDS = "a response is sent by the thread that makes it, at its client's speed"


@pytest.mark.only_on("proactor", reason=HOLDS)
def test_a_worker_is_free_before_its_response_is_read(serve: Serve) -> None:
    app = Maker()
    with serve(app, threads=1, response_ahead=0) as server, slow_reader(server.address) as slow:
        slow.send(build(f"/{20 * MIB}"))
        wait(app.ended)  # not a byte was read
        until(lambda: server.statistics()["spooled"] > 10 * MIB)
        assert fetch(server.address, "/10").body == pattern(10), "the only worker serves others"
        assert slow.response().body == pattern(20 * MIB)
        until(lambda: server.statistics()["spooled"] == 0)


@pytest.mark.only_on("proactor", reason=HOLDS)
def test_a_file_is_sent_to_a_slow_reader_without_holding_a_worker(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "large"
    data = pattern(30 * MIB)
    path.write_bytes(data)
    closed = FORK.Event()

    class Closing:
        def __init__(self) -> None:
            self.file = path.open("rb")
            self.read, self.fileno, self.tell = self.file.read, self.file.fileno, self.file.tell

        def close(self) -> None:
            self.file.close()
            closed.set()

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT, ("Content-Length", str(len(data)))])
        if environ["PATH_INFO"] == "/small":
            return [data]
        sent: Iterable[bytes] = environ["wsgi.file_wrapper"](Closing())
        return sent

    with serve(app, threads=1) as server, slow_reader(server.address) as slow:
        slow.send(build("/") + build("/"))
        wait(closed)
        assert server.statistics()["running"] <= 1
        assert fetch(server.address, method="HEAD").status == 200
        assert slow.response().body == data
        assert slow.response().body == data
        assert server.statistics()["spooled"] == 0, "a file needs no room of the server's"


def test_a_file_that_becomes_shorter_is_cut(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(bytes(30 * MIB))

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT])
        sent: Iterable[bytes] = environ["wsgi.file_wrapper"](path.open("rb"))
        return sent

    with serve(app) as server, slow_reader(server.address) as slow:
        slow.send(build())
        assert slow.head().one("Content-Length") == str(30 * MIB)
        os.truncate(path, 0)
        assert len(slow.cut()) < 30 * MIB


# --- back-pressure --------------------------------------------------------------------------------

# The first leaves hardly any room; in the second and the third a single piece is larger than all of it.
BUDGETS = [
    pytest.param({"spool_memory": MIB, "spool_disk": MIB}, id="some"),
    pytest.param({"spool_memory": 8 * KIB, "spool_disk": 8 * KIB}, id="tiny"),
    pytest.param({"spool_memory": 0, "spool_disk": 0}, id="none"),
]


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_worker_waits_for_its_client_when_the_spool_is_full(serve: Serve, budget: dict[str, int]) -> None:
    app, size = Maker(), 40 * MIB
    with serve(app, threads=1, **budget) as server, slow_reader(server.address) as slow:
        slow.send(build(f"/{size}"))
        head = slow.head()
        before = -1
        while before != app.made:  # until it makes no more: the sockets and the spool are full
            before = app.made
            assert not app.ended.wait(0.1), "it did not wait"
        assert head.status == 200
        parts = []
        while part := slow.chunk():
            parts.append(part)
        assert b"".join(parts) == pattern(size)
        wait(app.ended)
        assert fetch(server.address, "/10").body == pattern(10)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("size", [100 * KIB, 400 * KIB, 6 * MIB])
def test_a_whole_response_larger_than_the_spool_arrives(
    serve: Serve, budget: dict[str, int], size: int
) -> None:
    with serve(Maker(pieces=False), threads=1, **budget) as server, slow_reader(server.address) as slow:
        slow.send(build(f"/{size}"))
        assert slow.response().body == pattern(size)


def test_waiting_for_room_does_not_hold_the_gil(serve: Serve) -> None:
    """Chunks small enough to be sent with the GIL held, and no room for them anywhere."""

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [*TEXT])
        return (bytes(60 * KIB) for _ in range(400))

    with serve(app, threads=1, spool_memory=0, spool_disk=0) as server, slow_reader(server.address) as slow:
        slow.send(build())
        slow.head()
        total = 0
        while chunk := slow.chunk():  # this thread needs the GIL to read
            total += len(chunk)
        assert total == 400 * 60 * KIB


def test_a_client_that_disconnects_frees_the_worker_that_waits_for_it(serve: Serve) -> None:
    app = Maker()
    with serve(app, threads=1, spool_memory=MIB, spool_disk=MIB) as server:
        with slow_reader(server.address) as slow:
            slow.send(build(f"/{40 * MIB}"))
            slow.head()
            slow.reset()
        wait(app.ended)
        assert app.made < 40 * MIB
        assert fetch(server.address, "/10").body == pattern(10)
        until(lambda: server.statistics()["spooled"] == 0)


def test_the_write_timeout_frees_the_worker_that_waits(serve: Serve) -> None:
    app = Maker()
    with (
        serve(app, threads=1, spool_memory=MIB, spool_disk=MIB, write_timeout=0.3) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build(f"/{40 * MIB}"))
        wait(app.ended)
        assert app.made < 40 * MIB
        assert fetch(server.address, "/10").body == pattern(10)
        assert len(slow.cut()) < 40 * MIB


def test_a_client_that_takes_less_than_the_least_rate_is_cut_off(serve: Serve) -> None:
    """It takes something all the time, so that the write timeout alone would never end it."""
    app = Maker(pieces=False)
    with (
        serve(app, write_timeout=60, rate_window=0.3, min_write_rate=100 * MIB) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build(f"/{40 * MIB}"))
        received, deadline = 0, time.monotonic() + 30
        try:
            while piece := slow.socket.recv(16 * KIB):
                received += len(piece)
                assert time.monotonic() < deadline
                time.sleep(0.01)  # the rate of a slow reader, of which nothing here is to be waited for
        except ConnectionResetError:
            pass
        assert received < 40 * MIB
        assert fetch(server.address, "/10").body == pattern(10)


@pytest.mark.only_on("proactor", reason=HOLDS)
def test_clients_that_take_nothing_make_room_for_requests_that_wait(serve: Serve) -> None:
    """No deadline frees the worker here: clients that fill the disk and read nothing are cut, one after the other."""
    app = Maker()
    with (
        serve(
            app,
            threads=2,
            spool_memory=MIB,
            spool_disk=4 * MIB,
            response_ahead=0,
            write_timeout=600,
            rate_window=600,
            overload_control=False,  # else the newest is taken first, before those that read nothing
        ) as server,
        ExitStack() as stack,
    ):
        stalled = [stack.enter_context(slow_reader(server.address)) for _ in range(4)]
        for client in stalled:
            client.send(build(f"/{20 * MIB}"))
        until(lambda: (server.statistics()["running"], server.statistics()["queued"]) == (2, 2))
        assert fetch(server.address, "/10").body == pattern(10)
        assert server.statistics()["evicted"] >= 2


@pytest.mark.only_on("proactor", reason=HOLDS)
def test_no_client_is_cut_if_no_request_needs_its_room(serve: Serve) -> None:
    app = Maker()
    size = 20 * MIB
    with (
        serve(app, threads=1, spool_memory=MIB, spool_disk=4 * MIB, write_timeout=60) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build(f"/{size}"))
        since = time.monotonic()
        until(lambda: app.made > 4 * MIB and time.monotonic() - since > 2.5)  # longer than a stall may last
        assert app.made < size
        received = 0
        slow.head()
        while piece := slow.chunk():
            received += len(piece)
        assert received == size
        assert server.statistics()["evicted"] == 0


def test_closing_the_server_frees_the_worker_that_waits(serve: Serve) -> None:
    app = Maker()
    with (
        serve(app, threads=1, spool_memory=MIB, spool_disk=MIB, graceful_timeout=0) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build(f"/{40 * MIB}"))
        slow.head()
        server.drain()
        assert server.close(timeout=15), "its threads have ended"
        assert app.ended.is_set()
        assert app.made < 40 * MIB
        assert len(slow.cut()) < 40 * MIB


def test_a_slow_application_is_no_stalled_reader(serve: Serve) -> None:
    go_on = FORK.Event()

    def app(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [*TEXT])
        yield pattern(8 * MIB)
        wait(go_on)
        yield b"end"

    limits = {"write_timeout": 0.2, "rate_window": 0.1, "min_write_rate": 1}
    with serve(app, **limits) as server, slow_reader(server.address) as slow:
        slow.send(build())
        slow.head()
        assert slow.chunk() == pattern(8 * MIB)
        assert not go_on.wait(0.5), "longer than the write timeout, and then the application goes on"
        go_on.set()
        assert slow.chunk() == b"end"
        assert slow.chunk() == b""


# --- how far a response may be ahead ---------------------------------------------------------------

AHEAD = 256 * KIB
SOCKETS = 8 * MIB  # more than the sockets of both sides hold


def endless(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """Answer as a camera does."""
    start_response("200 OK", [("Content-Type", "multipart/x-mixed-replace; boundary=b")])
    while True:
        yield bytes(PIECE)


def in_calls(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Answer as a camera does, by write()."""
    write = start_response("200 OK", [*TEXT])
    while not environ["halfsync.disconnected"]():
        write(bytes(PIECE))
    return []


class Metered(Counting):
    """An application whose parts are counted, in any process, and which reports its end."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        super().__init__()
        self.app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Call the application."""
        if environ["PATH_INFO"] == "/other":
            start_response("200 OK", [*TEXT])
            return [b"other"]

        return self.iterate(self.app(environ, start_response))

    def settled(self) -> int:
        """Return how much was made once nothing more is, since the client takes nothing."""
        before = -1
        while before != self.made or not before:
            before = self.made
            assert not self.ended.wait(0.2)
        return before


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_stream_is_only_so_far_ahead_of_its_client(serve: Serve, version: str) -> None:
    app = Metered(endless)
    with serve(app, response_ahead=AHEAD) as server, slow_reader(server.address) as slow:
        slow.send(build(version=version))
        made = app.settled()
        assert made < SOCKETS + AHEAD
        for _ in range(3):  # it goes on as its client does, and stays as far ahead
            taken = 0
            while taken < 4 * MIB:
                taken += len(slow.some(MIB))
            until(lambda: app.made > made)  # noqa: B023 - it is called at once
            made += taken
            assert app.settled() < made + 3 * PIECE + SOCKETS
        assert fetch(server.address, "/other").body == b"other"
        slow.reset()
        wait(app.ended)
        until(lambda: server.statistics()["spooled"] == 0)


@pytest.mark.only_on("proactor", reason=HOLDS)
@pytest.mark.parametrize("make", [endless, in_calls], ids=["iterable", "write()"])
@pytest.mark.parametrize(("memory", "disk"), [(0, 20 * MIB), (MIB, 0)], ids=["on disk", "in memory"])
def test_a_stream_needs_a_bounded_part_of_the_spool(serve: Serve, make: Any, memory: int, disk: int) -> None:
    with (
        serve(make, response_ahead=AHEAD, spool_memory=memory) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build())
        taken = 0
        while taken < 50 * MIB:
            taken += len(slow.some(MIB))
            assert server.statistics()["spooled"] <= disk
        slow.reset()
        until(lambda: server.statistics()["running"] == 0)


@pytest.mark.only_on("proactor", reason=HOLDS)
def test_by_default_a_stream_is_a_few_mib_ahead(serve: Serve) -> None:
    app = Metered(endless)
    with serve(app) as server, slow_reader(server.address) as slow:
        slow.send(build())
        assert app.settled() < SOCKETS + 4 * MIB
        slow.reset()
        wait(app.ended)


@pytest.mark.only_on("proactor", reason=HOLDS)
def test_a_response_that_exists_already_holds_no_worker(serve: Serve) -> None:
    parts = [pattern(20 * MIB), *[bytes(MIB)] * 5]

    def app(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [*TEXT])
        return parts if environ["PATH_INFO"] == "/" else [b"other"]

    with serve(app, threads=1, response_ahead=1) as server, slow_reader(server.address) as slow:
        slow.send(build())
        until(lambda: server.statistics()["spooled"] > 10 * MIB)
        assert fetch(server.address, "/other").body == b"other"
        assert slow.response().body == b"".join(parts)


@pytest.mark.parametrize("ahead", [1, AHEAD, 0])
def test_a_response_made_in_parts_arrives_whole(serve: Serve, ahead: int) -> None:
    with serve(Maker(), response_ahead=ahead) as server, slow_reader(server.address) as slow:
        slow.send(build(f"/{20 * MIB}"))
        assert slow.response().body == pattern(20 * MIB)


def test_the_write_timeout_ends_the_wait_for_a_client(serve: Serve) -> None:
    app = Metered(endless)
    with (
        serve(app, threads=1, response_ahead=AHEAD, write_timeout=0.3) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build())
        wait(app.ended)
        assert fetch(server.address, "/other").body == b"other"
        slow.cut()


def test_closing_the_server_ends_the_wait_for_a_client(serve: Serve) -> None:
    app = Metered(endless)
    with (
        serve(app, threads=1, response_ahead=AHEAD, graceful_timeout=0) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build())
        app.settled()
        server.drain()
        assert server.close(timeout=15), "its threads have ended"
        assert app.ended.is_set()
        slow.cut()


@pytest.mark.only_on("proactor", reason=HOLDS)
def test_a_drain_waits_for_a_response_whose_worker_waits(serve: Serve) -> None:
    app, size = Maker(), 20 * MIB
    with serve(app, threads=1, response_ahead=AHEAD) as server, slow_reader(server.address) as slow:
        slow.send(build(f"/{size}"))
        slow.head()
        server.drain()
        received = 0
        while chunk := slow.chunk():
            received += len(chunk)
        assert received == size


@pytest.mark.only_on("proactor", reason=HOLDS)
def test_a_client_that_takes_nothing_is_cut_if_others_need_its_worker(serve: Serve) -> None:
    app = Metered(endless)
    with (
        serve(app, threads=2, response_ahead=AHEAD, write_timeout=600, rate_window=600) as server,
        slow_reader(server.address) as one,
        slow_reader(server.address) as other,
    ):
        for client in (one, other):
            client.send(build())
        app.settled()
        assert server.statistics()["evicted"] == 0, "no request needs their workers"
        assert fetch(server.address, "/other").body == b"other"
        assert server.statistics()["evicted"] >= 1


@pytest.mark.only_on("proactor", reason="no other model has a deadline for the application")
def test_waiting_for_the_client_is_not_the_applications_time(serve: Serve) -> None:
    app, size = Maker(), 20 * MIB
    kept_pattern(size)
    limit_s = 2.0
    with (
        serve(app, threads=1, response_ahead=AHEAD, request_timeout=limit_s) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build(f"/{size}"))
        slow.head()
        assert not app.ended.wait(2 * limit_s)
        received = 0
        while chunk := slow.chunk():
            received += len(chunk)
        assert received == size
        assert server.statistics()["timed_out"] == 0


@pytest.mark.plain_transport(reason="its worker waits for the transport nearly all the time")
@pytest.mark.only_on("proactor", reason="no other model has a deadline for the application")
def test_a_stream_that_waits_now_and_then_still_meets_its_deadline(serve: Serve) -> None:
    app = Metered(endless)
    with (
        serve(app, response_ahead=AHEAD, request_timeout=0.5) as server,
        Connection(server.address) as client,
    ):
        client.send(build())
        with suppress(ConnectionResetError):
            while client.socket.recv(MIB):
                pass
        wait(app.ended)
        assert server.statistics()["timed_out"] == 1


# --- the spool's directory ------------------------------------------------------------------------


@pytest.fixture
def short_lived() -> Iterator[Path]:
    """Return a directory that a test may remove."""
    path = Path(tempfile.mkdtemp(prefix="halfsync-test-"))
    yield path
    if path.exists():
        path.rmdir()


def test_a_body_on_disk_has_no_name(serve: Serve, short_lived: Path) -> None:
    with serve(Maker(), temp_dir=str(short_lived)) as server, Connection(server.address) as upload:
        upload.send(build("/10", method="POST", body=bytes(MIB))[:-1])
        until(lambda: open_files(short_lived) == 1)
        assert list(short_lived.iterdir()) == []
        upload.send(b"\0")
        assert upload.response().body == pattern(10)
        until(lambda: open_files(short_lived) == 0)


@pytest.mark.plain_transport(
    reason="the client is sent less at a time, so that more is on the disk, in two files"
)
@pytest.mark.only_on("proactor", reason=HOLDS)
def test_a_response_on_disk_has_no_name(serve: Serve, short_lived: Path) -> None:
    app = Maker()
    with (
        serve(app, temp_dir=str(short_lived), response_ahead=0) as server,
        slow_reader(server.address) as slow,
    ):
        slow.send(build(f"/{20 * MIB}"))
        wait(app.ended)
        until(lambda: server.statistics()["spooled"] > 10 * MIB)
        assert open_files(short_lived) == 1
        assert list(short_lived.iterdir()) == []


def test_a_body_that_the_disk_does_not_take_is_answered_503(serve: Serve, short_lived: Path) -> None:
    with serve(Maker(), temp_dir=str(short_lived)) as server:
        short_lived.rmdir()
        for body in (bytes(100 * KIB), bytes(3 * MIB)):
            response = fetch(server.address, "/10", method="POST", body=body)
            assert response.status == 503
            assert response.one("Retry-After")
        assert fetch(server.address, "/10", method="POST", body=b"small").status == 200
        assert server.statistics()["spooled"] == 0


def test_a_body_past_the_budget_is_answered_503(serve: Serve) -> None:
    with serve(Maker(), spool_disk=MIB) as server:
        assert fetch(server.address, "/10", method="POST", body=bytes(2 * MIB)).status == 503
        assert fetch(server.address, "/10", method="POST", body=bytes(MIB - 1)).status == 200
        until(lambda: server.statistics()["spooled"] == 0)


@pytest.mark.only_on("proactor", reason=HOLDS)
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_a_response_that_the_disk_does_not_take_never_looks_complete(
    serve: Serve, short_lived: Path, version: str
) -> None:
    app = Maker()
    with serve(app, temp_dir=str(short_lived)) as server, slow_reader(server.address) as slow:
        short_lived.rmdir()
        slow.send(build(f"/{20 * MIB}", version=version))
        wait(app.ended)
        # To HTTP/1.0 the end of the connection ends the body: only a reset shows that this is not it.
        with pytest.raises((CutError, ConnectionResetError)):
            slow.response()
        assert fetch(server.address, "/10").body == pattern(10)
