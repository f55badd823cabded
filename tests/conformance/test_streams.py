"""Raw TCP on every model: the same handler, byte for byte, in order, and notified of its end exactly once."""

import importlib
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Serve
from tests.disks import short_files, small_disk
from tests.sharing import FORK, foreign_environment
from tests.wsgi import pattern, until, wait

import halfsync
from halfsync.errors import UsageError

KEYVALUE = Path(__file__).parents[2] / "examples" / "keyvalue"
TIMEOUT_S = 15.0
READ_BYTES = 65536
SMALL_WINDOW = 16 << 10  # of a reader's socket: what it does not read stays with the server
LARGE = 20 << 20  # more than any socket takes
DISK_BYTES = 256 << 10


class Shared:
    """Counts that handlers in other threads or processes share with their test."""

    def __init__(self) -> None:
        self.made = FORK.Semaphore(0)
        self.ended = FORK.Semaphore(0)
        self.overlaps = FORK.Value("i", 0)

    def wait_ended(self, number: int) -> None:
        """Wait until so many more handlers have been notified of their end, and check that no more are."""
        for _ in range(number):
            assert self.ended.acquire(timeout=TIMEOUT_S), "a handler was not told of its end"
        assert not self.ended.acquire(block=False), "a handler was told of its end twice"


def handler(shared: Shared, received: Callable[[Any, bytes], Any]) -> type:
    """Return a handler class around one function, that counts itself, and turns that overlap."""

    class Handler:
        def __init__(self) -> None:
            shared.made.release()
            self.busy = False
            self.told = False

        def received(self, data: bytes) -> Any:
            with shared.overlaps.get_lock():
                shared.overlaps.value += self.busy or self.told
            self.busy = True
            try:
                return received(self, data)
            finally:
                self.busy = False

        def closed(self) -> None:
            with shared.overlaps.get_lock():
                shared.overlaps.value += self.busy or self.told
            self.told = True
            shared.ended.release()

    return Handler


def connect(address: tuple[str, int]) -> socket.socket:
    """Return a connected client that does not wait for ever."""
    client = socket.create_connection(address, timeout=TIMEOUT_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def exactly(client: socket.socket, size: int) -> bytes:
    """Receive so many bytes."""
    parts, missing = [], size
    while missing:
        data = client.recv(min(missing, READ_BYTES))
        assert data, "the stream ended early"
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def rest(client: socket.socket) -> bytes:
    """Receive up to the end, which is no reset."""
    parts = []
    while data := client.recv(READ_BYTES):
        parts.append(data)
    return b"".join(parts)


@pytest.fixture
def shared() -> Iterator[Shared]:
    """Return the counts; after the test no two calls of one handler may have overlapped."""
    counts = Shared()
    yield counts
    assert counts.overlaps.value == 0


def test_what_is_sent_comes_back_in_order_however_it_is_cut(serve: Serve, shared: Shared) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    data = pattern(300_000)
    with serve(handler(shared, lambda _, data: data), stream=True) as server:
        with connect(server.address) as client:
            at = 0
            while at < len(data):
                size = chance.choice([1, 2, 100, 5000, 40_000])
                client.sendall(data[at : at + size])
                assert exactly(client, len(data[at : at + size])) == data[at : at + size]
                at += size
        shared.wait_ended(1)


def test_many_clients_at_once_each_get_their_own(serve: Serve, shared: Shared) -> None:
    data = pattern(2_000_000)

    def talk(client: socket.socket) -> None:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        got.append(exactly(client, len(data)) == data)
        sender.join()

    got: list[bool] = []
    with serve(handler(shared, lambda _, data: data), stream=True) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(12)]
        threads = [threading.Thread(target=talk, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [True] * 12
    shared.wait_ended(12)


def test_more_silent_streams_than_threads_keep_their_connections(serve: Serve, shared: Shared) -> None:
    with serve(handler(shared, lambda _, data: data), stream=True, threads=2) as server, ExitStack() as stack:
        clients = [stack.enter_context(connect(server.address)) for _ in range(10)]
        for turn in range(3):
            for client in clients:
                client.sendall(b"turn %d" % turn)
                assert exactly(client, 6) == b"turn %d" % turn
            # Longer, in all, than the second after which the pool closes idle HTTP connections.
            time.sleep(0.6)
    shared.wait_ended(10)


def pieces(_: Any, data: bytes) -> Iterator[bytes]:
    """Answer in pieces, one of them empty."""
    for byte in data:
        yield bytes([byte]) * 100_000
        yield b""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda _, data: None, b""),
        (lambda _, data: b"", b""),
        (lambda _, data: [b"a", data, b"c"], b"axc"),
        (lambda _, data: (piece for piece in (b"a", b"", data)), b"ax"),
        (pieces, b"x" * 100_000),
    ],
    ids=["nothing", "empty", "list", "generator", "large"],
)
def test_what_a_handler_may_return(
    serve: Serve, shared: Shared, answer: Callable[[Any, bytes], Any], expected: bytes
) -> None:
    with serve(handler(shared, answer), stream=True) as server, connect(server.address) as client:
        client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        assert rest(client) == expected
        shared.wait_ended(1)


def says_and_ends(_: Any, data: bytes) -> bytes:
    """End the stream after an answer."""
    raise halfsync.EndStream(b"bye " + data)


def ends_in_the_middle(_: Any, data: bytes) -> Iterator[bytes]:
    """Send a piece, and then end the stream."""
    yield b"first "
    raise halfsync.EndStream(b"bye " + data)


@pytest.mark.parametrize(
    ("answer", "expected"), [(says_and_ends, b"bye x"), (ends_in_the_middle, b"first bye x")]
)
def test_end_stream_sends_and_closes(
    serve: Serve, shared: Shared, answer: Callable[[Any, bytes], Any], expected: bytes
) -> None:
    with serve(handler(shared, answer), stream=True) as server, connect(server.address) as client:
        client.sendall(b"x")
        assert rest(client) == expected
        client.close()
        shared.wait_ended(1)


def test_bytes_after_the_end_do_not_change_the_answer(serve: Serve, shared: Shared) -> None:
    def received(_: Any, data: bytes) -> bytes:
        raise halfsync.EndStream(pattern(50_000))

    with serve(handler(shared, received), stream=True) as server, connect(server.address) as client:
        client.sendall(b"x")
        client.sendall(b"y" * 100_000)
        assert rest(client) == pattern(50_000)


def fails(_: Any, data: bytes) -> bytes:
    """Fail as an application does."""
    raise LookupError(data)


def fails_in_the_middle(_: Any, data: bytes) -> Iterable[bytes]:
    """Fail after a piece."""
    yield b"first"
    raise LookupError(data)


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
@pytest.mark.parametrize(
    "answer",
    [fails, fails_in_the_middle, lambda _, data: "text", lambda _, data: [1], lambda _, data: 5],
    ids=["at once", "later", "str", "int in a list", "int"],
)
def test_a_handler_that_fails_cuts_its_connection_and_no_other(
    serve: Serve, shared: Shared, answer: Callable[[Any, bytes], Any]
) -> None:
    def received(self: Any, data: bytes) -> Any:
        return answer(self, data) if data == b"fail" else data

    with (
        serve(handler(shared, received), stream=True) as server,
        connect(server.address) as good,
        connect(server.address) as bad,
    ):
        good.sendall(b"one")
        assert exactly(good, 3) == b"one"
        bad.sendall(b"fail")
        with pytest.raises(ConnectionResetError):
            rest(bad)
            pytest.fail("the stream looks complete")
        shared.wait_ended(1)
        good.sendall(b"two")
        assert exactly(good, 3) == b"two"


def test_a_client_that_resets_ends_its_handler(serve: Serve, shared: Shared) -> None:
    with serve(handler(shared, lambda _, data: data), stream=True) as server:
        client = connect(server.address)
        client.sendall(b"x")
        assert exactly(client, 1) == b"x"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        shared.wait_ended(1)


def test_the_handler_of_a_client_that_does_not_read_a_long_answer_ends(serve: Serve, shared: Shared) -> None:
    def received(_: Any, data: bytes) -> Iterator[bytes]:
        for _number in range(400):
            yield bytes(100_000)

    with serve(handler(shared, received), stream=True) as server:
        client = connect(server.address)
        client.sendall(b"x")
        exactly(client, 1_000_000)
        client.close()
        shared.wait_ended(1)


def test_a_handler_is_made_with_the_first_bytes(serve: Serve, shared: Shared) -> None:
    with serve(handler(shared, lambda _, data: data), stream=True) as server:
        with connect(server.address) as silent, connect(server.address) as client:
            client.sendall(b"x")
            assert exactly(client, 1) == b"x"
            assert shared.made.acquire(timeout=TIMEOUT_S)
            assert not shared.made.acquire(block=False)
            del silent
        shared.wait_ended(1)


def test_a_drained_server_ends_idle_streams(serve: Serve, shared: Shared) -> None:
    with (
        serve(handler(shared, lambda _, data: data), stream=True) as server,
        connect(server.address) as client,
    ):
        client.sendall(b"x")
        assert exactly(client, 1) == b"x"
        server.drain()
        assert rest(client) == b""
        assert server.wait(TIMEOUT_S)
    shared.wait_ended(1)


def test_a_silent_stream_is_ended_by_its_deadline(serve: Serve, shared: Shared) -> None:
    with (
        serve(handler(shared, lambda _, data: data), stream=True, keep_alive=1.0) as server,
        connect(server.address) as client,
    ):
        client.sendall(b"x")
        assert exactly(client, 1) == b"x"
        assert rest(client) == b""
        shared.wait_ended(1)


@pytest.mark.parametrize("settings", [{"access_log": "-"}, {"keep_alive": 0}])
def test_settings_that_mean_nothing_to_a_stream_are_refused(serve: Serve, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError), serve(object, stream=True, **settings):
        pass


@contextmanager
def no_folder(path: Path) -> Iterator[None]:
    """Have the folder removed, so that no file can be made in it."""
    path.rmdir()
    yield


DISKS: dict[str, Callable[[Path], AbstractContextManager[None]]] = {
    "full": lambda path: small_disk(path, DISK_BYTES),
    "short files": lambda _: short_files(DISK_BYTES),
    "no folder": no_folder,
}


@pytest.mark.plain_transport(reason="it takes what comes at one time for a whole")
@pytest.mark.only_on(
    "proactor", reason="a response is sent by the thread that makes it, and is never kept on a disk"
)
@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "pieces"])
def test_an_answer_that_the_disk_does_not_take_never_looks_complete(
    serve: Serve,
    shared: Shared,
    tmp_path: Path,
    disk: str,
    pieces: bool,
) -> None:
    answer = pattern(LARGE)
    asked = threading.Event()

    def large() -> Iterator[bytes]:
        for at in range(0, LARGE, READ_BYTES):
            yield answer[at : at + READ_BYTES]

    def received(_: Any, data: bytes) -> Any:
        if data != b"large":
            return data
        asked.set()
        return large() if pieces else answer

    folder = tmp_path / "spool"
    folder.mkdir()
    with (
        serve(handler(shared, received), stream=True, threads=2, temp_dir=str(folder)) as server,
        connect(server.address) as other,
        socket.socket() as slow,
    ):
        other.sendall(b"one")
        assert exactly(other, 3) == b"one"
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_WINDOW)
        slow.settimeout(TIMEOUT_S)
        slow.connect(server.address)
        with DISKS[disk](folder):
            slow.sendall(b"large")
            wait(asked)
            until(lambda: server.statistics()["running"] == 0)  # not a byte was read
            got = bytearray()
            with pytest.raises(ConnectionResetError):
                while data := slow.recv(READ_BYTES):
                    got += data
                pytest.fail("the stream looks complete")
            assert len(got) < LARGE
            assert answer.startswith(got)
            shared.wait_ended(1)
            other.sendall(b"two")
            assert exactly(other, 3) == b"two"
            with connect(server.address) as newcomer:
                newcomer.sendall(b"new")
                assert exactly(newcomer, 3) == b"new"
            shared.wait_ended(1)
            assert server.statistics()["spooled"] == 0
    shared.wait_ended(1)


@pytest.mark.skipif(
    shutil.which("redis-benchmark") is None, reason="redis-benchmark (Debian: redis-tools) is not there"
)
@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark_runs_to_its_end(
    serve: Serve,
    model: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    pipeline: int,
) -> None:
    monkeypatch.syspath_prepend(str(KEYVALUE))
    keyvalue = importlib.import_module("keyvalue")  # as `--chdir examples/keyvalue` finds it
    with serve(keyvalue.KeyValue, stream=True) as server:
        port = str(server.address[1])
        done = subprocess.run(
            ["redis-benchmark", "-p", port, "-t", "ping,set,get", "-n", "5000", "-P", str(pipeline), "--csv"],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
            env=foreign_environment(),
        )
        rows = [line.split(",")[0] for line in done.stdout.splitlines()[1:]]
        assert rows == ['"PING_INLINE"', '"PING_MBULK"', '"SET"', '"GET"']
        assert "rror" not in done.stdout + done.stderr
        key = f"{request.node.name}-{time.time_ns()}"  # the module's store outlives the server
        told = [
            subprocess.run(
                ["redis-cli", "-p", port, *words],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
                env=foreign_environment(),
            ).stdout.strip()
            for words in (("set", key, "1"), ("incr", key), ("get", key))
        ]
        # Under `process` each connection has a store of its own, gone with it.
        assert told == (["OK", "1", ""] if model["model"] == "process" else ["OK", "2", "2"])
