"""Bodies far larger than memory may grow by: slow uploads, and responses that are read slowly.

In the suite they are small, though larger than all that is allowed. HALFSYNC_LARGE_BYTES gives another size (`make
stress`: two gigabytes). At most so many bytes lie on the disk at one time.
"""

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults import large
from tests.faults.large import pieces
from tests.faults.serving import MODELS, Serving
from tests.faults.watching import KIB, peak_growth, reset_peak
from tests.sharing import frugal_environment

MIB = 1 << 20
SMALL = 64_000_000
SIZE = int(os.environ.get("HALFSYNC_LARGE_BYTES", str(SMALL)))
FULL = SIZE > SMALL
SEED = int(os.environ.get("HALFSYNC_TEST_SEED", "20261126"))
SPOOL_MEMORY = MIB  # the default, for one response
BODY_MEMORY = 64 * KIB  # the default, for one request body
ALLOWANCE = (
    8 * MIB
)  # for what malloc keeps, the application's pieces, and pages that are used for the first time
SOCKETS = 16 * MIB  # that the sockets of both sides may hold, at the very most
DRIBBLE_BYTES = 16 * KIB  # of one write, at most
SLOW_BYTES_PER_S = 10_000
SLOW_S = 15.0 if FULL else 1.0
SETTLED_S = 0.3  # without a further piece: the application waits
MAKE_S = 240.0 if FULL else 30.0  # in which the application has made what it can
AHEAD = ("--response-ahead", "0")  # as far as memory and the disk allow
TIMEOUT_S = 120.0
MODEL = pytest.mark.parametrize("name", MODELS)

pytestmark = pytest.mark.timeout(900 if FULL else 120)

APP = """
import hashlib, os
from large import pieces

MADE = os.open("made", os.O_WRONLY | os.O_CREAT)

def app(environ, start_response):
    path, size = environ["PATH_INFO"], int(environ["QUERY_STRING"] or 0)
    if path == "/upload":
        hashed, length = hashlib.sha256(), 0
        while data := environ["wsgi.input"].read(100_000):
            hashed.update(data)
            length += len(data)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{length} {hashed.hexdigest()}".encode()]
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(size))])
    if path == "/file":
        return environ["wsgi.file_wrapper"](open("file", "rb"))
    return made(size)

def made(size):
    done = 0
    for piece in pieces(size):
        yield piece
        done += len(piece)
        os.pwrite(MADE, done.to_bytes(8, "big"), 0)
"""
WARM_UP = (
    300_000  # bytes: more than is kept in memory, so that every way is gone once before anything is measured
)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Return a directory with what the application needs, which is emptied in the end: pytest would keep it."""
    shutil.copy(large.__file__, tmp_path)
    (tmp_path / "made").write_bytes(bytes(8))
    yield tmp_path
    with suppress(FileNotFoundError):
        (tmp_path / "file").unlink()


def hash_of(size: int) -> str:
    hashed = hashlib.sha256()
    for piece in pieces(size):
        hashed.update(piece)
    return hashed.hexdigest()


def read(connection: Connection, target: str) -> None:
    """Read a response of the size that its target ends with, and see that it is whole."""
    size = int(target.partition("?")[2])
    connection.send(build(target))
    response = connection.response()
    assert hashlib.sha256(response.body).hexdigest() == hash_of(size)


class Dribble:
    """A body on its way to a server, in writes of random sizes. It is paced: the server is there first, and waits."""

    def __init__(self, connection: Connection, *, chunked: bool) -> None:
        self._connection, self._chunked = connection, chunked
        self._hash = hashlib.sha256()
        self._length = 0
        self._chance = random.Random(SEED)

    def send(self, size: int) -> str:
        """Send a request with such a body; return what the application has to answer."""
        framing = ("Transfer-Encoding", "chunked") if self._chunked else ("Content-Length", str(size))
        self._connection.send(build("/upload", method="POST", fields=[framing]))
        for number, piece in enumerate(pieces(size)):
            at = 0
            while at < len(piece):
                length = self._chance.randint(1, DRIBBLE_BYTES)
                self._write(piece[at : at + length])
                at += length
            if number % 16 == 0:
                time.sleep(0.001)  # a pause of the client's; nothing is waited for
        if self._chunked:
            self._connection.send(b"0\r\n\r\n")
        return f"{self._length} {self._hash.hexdigest()}"

    def _write(self, data: bytes) -> None:
        self._hash.update(data)
        self._length += len(data)
        self._connection.send(b"%x\r\n%s\r\n" % (len(data), data) if self._chunked else data)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@MODEL
def test_an_upload_that_dribbles_in(directory: Path, name: str, chunked: bool) -> None:
    print(f"HALFSYNC_TEST_SEED={SEED}")
    options = (*MODELS[name], "--max-body", str(SIZE), "--temp-dir", str(directory))
    with (
        Serving(directory, APP, *options, more=frugal_environment()) as serving,
        Connection(serving.address, timeout_s=TIMEOUT_S) as upload,
    ):
        wanted = Dribble(upload, chunked=chunked).send(WARM_UP)
        assert upload.response().body.decode() == wanted
        before = reset_peak(serving.process.pid)
        wanted = Dribble(upload, chunked=chunked).send(SIZE)
        assert upload.response().body.decode() == wanted
        grown = peak_growth(serving.process.pid, before)
        print(f"{name}: {SIZE} bytes in; memory grew by {grown / MIB:.1f} MiB")
        assert grown < BODY_MEMORY + ALLOWANCE
        assert wanted == f"{SIZE} {hash_of(SIZE)}"


class SlowReader:
    """A client that reads ten kilobytes a second until the test lets it go on at full speed."""

    def __init__(self, connection: Connection, target: str) -> None:
        self._connection = connection
        self._hash = hashlib.sha256()
        connection.send(build(target))
        head = connection.head()
        assert head.status == 200
        self._left = int(head.one("Content-Length") or 0)
        self.taken = 0

    def read_slowly(self, enough: Callable[[], bool]) -> None:
        """Read at that speed for SLOW_S at least, and then until there is enough."""
        since = time.monotonic()
        while time.monotonic() < since + SLOW_S or not enough():
            assert time.monotonic() < since + MAKE_S, "the application does not come to a rest"
            self._take(SLOW_BYTES_PER_S // 10)
            time.sleep(0.1)  # this is its speed

    def read_on(self) -> str:
        """Read the rest as fast as can be, and return the hash of all."""
        while self._left > 0:
            self._take(MIB)
        return self._hash.hexdigest()

    def _take(self, most: int) -> None:
        data = self._connection.some(min(most, self._left))
        self._hash.update(data)
        self._left -= len(data)
        self.taken += len(data)


class Rest:
    """Tells whether the application has made all, or waits: it has made nothing for a while."""

    def __init__(self, directory: Path, least: int) -> None:
        """least: bytes that it makes in any case; a busy machine may keep it from that for a while."""
        self._path = directory / "made"
        self._least = least
        self.made = 0  # bytes, when it was last asked
        self._since = time.monotonic()

    def __call__(self) -> bool:
        """Look. To be called again and again."""
        made = int.from_bytes(self._path.read_bytes(), "big")
        if made != self.made:
            self.made, self._since = made, time.monotonic()
        return made == SIZE or (made >= self._least and time.monotonic() > self._since + SETTLED_S)


def slow_response(directory: Path, target: str, rest: Callable[[], bool], *options: str) -> int:
    """Read a response slowly, and then the rest; return how much of it the client had taken by then.

    The server's memory must not grow, whichever side waits, and others are served.
    """
    with (
        Serving(directory, APP, "--temp-dir", str(directory), *options, more=frugal_environment()) as serving,
        Connection(serving.address, timeout_s=TIMEOUT_S) as connection,
    ):
        if target.startswith("/made"):
            read(connection, f"/made?{WARM_UP}")
        before = reset_peak(serving.process.pid)
        slow = SlowReader(connection, target)
        slow.read_slowly(rest)
        taken = slow.taken
        assert fetch(serving.address, "/upload", method="POST", body=b"").status == 200
        assert slow.read_on() == hash_of(SIZE)
        grown = peak_growth(serving.process.pid, before)
        print(f"{options}: {SIZE} bytes out, {taken} of them slowly; memory grew by {grown / MIB:.1f} MiB")
        assert grown < SPOOL_MEMORY + ALLOWANCE
        return taken


@MODEL
def test_a_response_that_is_read_slowly(directory: Path, name: str) -> None:
    """In the proactor the application comes to its end; in other models it waits for its client."""
    is_kept = name.startswith("proactor")
    rest = Rest(directory, SIZE if is_kept else 1)
    taken = slow_response(directory, f"/made?{SIZE}", rest, *MODELS[name], *AHEAD)
    if is_kept:
        assert rest.made == SIZE, "its worker was free"
    else:
        assert rest.made < taken + SOCKETS


@pytest.mark.parametrize("name", ["proactor", "proactor-poll"])
def test_a_response_larger_than_the_disk_budget(directory: Path, name: str) -> None:
    """Past the budget the application waits for its slow client, which is not cut."""
    budget = SIZE // 4
    rest = Rest(directory, budget)
    options = (*MODELS[name], *AHEAD, "--spool-disk", str(budget))
    taken = slow_response(directory, f"/made?{SIZE}", rest, *options)
    assert budget <= rest.made < taken + budget + SPOOL_MEMORY + SOCKETS


@MODEL
def test_a_file_that_is_read_slowly(directory: Path, name: str) -> None:
    with (directory / "file").open("wb") as file:
        for piece in pieces(SIZE):
            file.write(piece)
    slow_response(directory, f"/file?{SIZE}", lambda: True, *MODELS[name])
