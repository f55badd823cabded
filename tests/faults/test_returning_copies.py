"""An application that forks and lets both processes return: the copy ends there, and answers and takes nothing."""

import signal
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving, environment

CLIENTS = 12
EXIT_TIMEOUT_S = 30

# A copy that lives on is killed, so that it fails a test and does not hang it.
FORKED = """
import os, select, signal

LEFT_MS = 10_000
copies = []

def forked():
    "Fork. Returns whether this is the copy."
    copies.append(os.fork())
    return copies[-1] == 0

def fate():
    "What became of the last copy: its exit code."
    pid = copies.pop()
    end = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(end, select.POLLIN)
    if not poll.poll(LEFT_MS):
        os.kill(pid, signal.SIGKILL)
    os.close(end)
    return b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""

APP = (
    FORKED
    + """
import io, logging

class Result:
    "Forks in one of its methods."
    def __init__(self, where):
        self.where = where

    def __iter__(self):
        if self.where == "iter":
            self.fork()
        return self

    def __next__(self):
        if self.where == "next":
            self.fork()
            return b"a piece and "
        if self.where == "empty":
            return b"" if self.fork() else b"a piece and "
        if self.where == "stop":
            self.fork()
        raise StopIteration

    def fork(self):
        where, self.where = self.where, ""
        return forked()

    def close(self):
        if self.where == "close":
            self.fork()

    def __del__(self):
        if self.where == "del":
            self.fork()

class File(io.BytesIO):
    def read(self, size=-1):
        if self.tell() == 0:
            forked()
        return super().read(size)

class Attribute:
    looked_up = False

    @property
    def read(self):
        if not self.looked_up:
            self.looked_up = True
            forked()
        return io.BytesIO(b"").read

def tell():
    os.write(2, b"the copy ended with " + fate() + b"\\n")

class Reraised(Exception):
    def with_traceback(self, traceback):
        forked() or tell()
        return super().with_traceback(traceback)

class Handler(logging.Handler):
    def handle(self, record):  # emit holds a lock, which logging takes away from a copy
        if record.levelno == logging.WARNING:
            forked()

class Filter(logging.Filter):
    def filter(self, record):
        fails = "/fail" in record.getMessage()
        if fails and not forked():
            tell()
        return not fails

logging.getLogger("halfsync").addHandler(Handler())
logging.getLogger("halfsync").addFilter(Filter())

def app(environ, start_response):
    path = environ["PATH_INFO"][1:]
    if path == "fate":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [fate()]
    if path == "fail":
        raise LookupError
    body = b"hello"
    if path in ("return", "read", "raise"):
        if forked():
            if path == "raise":
                raise LookupError
            if path == "read":
                assert environ["wsgi.input"].read() == b"x" * 20_000
            body = b"copy"
        else:
            assert environ["wsgi.input"].read() in (b"", b"x" * 20_000)
    fields = [("Content-Type", "text/plain")]
    if path == "log":
        fields.append(("Content-Length", "4"))
    write = start_response("200 OK", fields)
    if path in ("write", "ask", "start"):
        if forked():
            while True:
                write(b"copy") if path == "write" else environ["halfsync.disconnected"]()
                if path == "start":
                    start_response("500 No", [], (LookupError, LookupError(), None))
                    break
    if path == "exc_info":
        write(b"a piece")
        start_response("500 No", [], (Reraised, Reraised(), None))
    if path == "file":
        return environ["wsgi.file_wrapper"](File(b"file"))
    if path == "attribute":
        return environ["wsgi.file_wrapper"](Attribute())
    if path in ("iter", "next", "empty", "stop", "close", "del"):
        return Result(path)
    return [body]
"""
)

# Where it forks, and what its client gets.
PLACES = {
    "return": b"hello",
    "read": b"hello",
    "raise": b"hello",
    "write": b"hello",
    "ask": b"hello",
    "start": b"hello",
    "iter": b"",
    "next": b"a piece and ",
    "empty": b"a piece and ",
    "stop": b"",
    "close": b"",
    "del": b"",
    "file": b"file",
    "attribute": b"",
    "log": b"hell",
}
CODES = {"raise": b"1"}

STREAM = (
    FORKED
    + """
class app:
    def __init__(self):
        self.where = ""

    def received(self, data):
        if data == b"fate":
            return fate()
        if data == b"closed":
            self.where = "closed"
        if data == b"return":
            forked()
        if data == b"iterate":
            return self.pieces()
        return data

    def pieces(self):
        forked()
        yield b""
        yield b"iterate"

    def closed(self):
        if self.where:
            forked()
"""
)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def end(serving: Serving) -> None:
    """Drain, and see that it ends as if nothing had been forked."""
    serving.signal(signal.SIGTERM)
    assert serving.exit_code() == 0
    assert not [line for line in serving.lines if "Traceback" in line], serving.lines


def fate(connection: Connection) -> bytes:
    """Return the exit code of the last copy that was forked in this connection's process."""
    connection.send(build("/fate"))
    return connection.response().body


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("workers", [(), ("--workers", "1")], ids=["alone", "supervised"])
def test_a_copy_that_returns_ends(
    tmp_path: Path, model: tuple[str, ...], workers: tuple[str, ...], place: str
) -> None:
    with Serving(tmp_path, APP, *model, *workers, "--threads", "2") as serving:
        with Connection(serving.address) as connection:
            if place == "read":
                connection.send(build("/read", method="POST", body=b"x" * 20_000))
            else:
                connection.send(build(f"/{place}"))
            response = connection.response()
            assert (response.status, response.body) == (200, PLACES[place])
            assert fate(connection) == CODES.get(place, b"0")
        end(serving)


@pytest.mark.parametrize(("place", "code"), [("exc_info", "1"), ("fail", "0")])
def test_a_copy_ends_if_its_original_fails(
    tmp_path: Path, model: tuple[str, ...], place: str, code: str
) -> None:
    """The original logs the copy's outcome at once, since its connection, and with it its process, may end."""
    with Serving(tmp_path, APP, *model) as serving:
        with Connection(serving.address) as connection:
            connection.send(build(f"/{place}", fields=[("Connection", "close")]))
            connection.rest()
        serving.wait_line(f"the copy ended with {code}")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0


COUNTING = """
import os

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fork":
        os.fork()
    start_response("200 OK", [("Content-Type", "text/plain")])
    log = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, environ["QUERY_STRING"].encode() + b"\\n")
    os.close(log)
    return [environ["QUERY_STRING"].encode()]
"""


def test_no_request_of_another_is_run_again(tmp_path: Path, model: tuple[str, ...]) -> None:
    """One thread and many clients: a copy that lived on would have the queue, and run what waits there."""

    def ask(number: int) -> bytes:
        with Connection(serving.address) as connection:
            connection.send(build(f"/fork?{number}") + build(f"/?{number}", fields=[("Connection", "close")]))
            first, second = connection.last_responses()
        return first.body + second.body

    with Serving(tmp_path, COUNTING, *model, "--threads", "1") as serving:
        with ThreadPoolExecutor(CLIENTS) as clients:
            assert list(clients.map(ask, range(CLIENTS))) == [b"%d" % number * 2 for number in range(CLIENTS)]
        end(serving)
    # The application runs on in the copy to its end: its fork is its own. Nothing else is run twice.
    found = Counter((tmp_path / "log").read_text().split())
    assert found == {str(number): 3 for number in range(CLIENTS)}


@pytest.mark.parametrize("data", [b"return", b"iterate"])
def test_a_copy_of_a_stream_that_returns_ends(tmp_path: Path, model: tuple[str, ...], data: bytes) -> None:
    with Serving(tmp_path, STREAM, *model, "--stream") as serving:
        with socket.create_connection(serving.address, timeout=15) as client:
            client.sendall(data)
            with client.makefile("rb") as got:
                assert got.read(len(data)) == data
                client.sendall(b"fate")
                assert got.read(1) == b"0"
        end(serving)


def test_a_copy_that_returns_after_a_stream_has_ended_ends(tmp_path: Path, model: tuple[str, ...]) -> None:
    app = STREAM.replace("        if self.where:\n            forked()", CLOSED)
    with Serving(tmp_path, app, *model, "--stream") as serving:
        with socket.create_connection(serving.address, timeout=15) as client:
            client.sendall(b"closed")
            assert client.recv(6) == b"closed"
        serving.wait_line("the copy ended with 0")
        end(serving)


CLOSED = """
        if self.where and not forked():
            os.write(2, b"the copy ended with " + fate() + b"\\n")
"""

LOADED = (
    FORKED
    + """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]

def make():
    {factory}
    return app

def hook(worker):
    {hook}

{module}
"""
)
TOLD = 'forked() or os.write(2, b"the copy ended with " + fate() + b"\\n")'


@pytest.mark.parametrize(
    ("place", "options"),
    [
        ("module", ()),
        ("factory", ("--factory",)),
        ("module", ("--workers", "2")),
        ("module", ("--workers", "2", "--preload")),
        ("hook", ("--workers", "2", "--post-fork", "served:hook")),
        ("hook", ("--workers", "2", "--worker-ready", "served:hook")),
        ("hook", ("--workers", "2", "--worker-exit", "served:hook")),
    ],
    ids=["module", "factory", "supervised", "preloaded", "post-fork", "worker-ready", "worker-exit"],
)
def test_a_copy_that_returns_from_loading_or_a_hook_ends(
    tmp_path: Path, place: str, options: tuple[str, ...]
) -> None:
    parts = {name: TOLD if name == place else "pass" for name in ("module", "factory", "hook")}
    app = LOADED.format(**parts)
    if place == "factory":
        app = app.replace("def app", "def other").replace("return app", "return other").replace("make", "app")
    with Serving(tmp_path, app, *options) as serving:
        assert fetch(serving.address).status == 200
        if options[:1] == ("--workers",):
            serving.wait_line("all 2 processes serve")
        end(serving)
    assert "the copy ended with 0" in serving.lines, serving.lines
    assert not [line for line in serving.lines if "the copy ended" in line and line[-2:] != " 0"]


POOL = (
    FORKED
    + """
import sys, threading
import halfsync

done = threading.Event()
results = []

def job():
    if forked():
        {copy}
    results.append(fate())

with halfsync.ThreadPool(2) as pool:
    for _ in range(4):
        pool.append(job)
print(b" ".join(results).decode(), pool.statistics().failed)
"""
)


@pytest.mark.parametrize(
    ("copy", "code"),
    [
        ("return", 0),
        ("raise LookupError", 1),
        ("sys.exit(3)", 3),
        ("sys.exit(2**40 + 7)", 7),
        ("return os.write(2, b'%d %d;' % (pool.append(print), pool.close()))", 0),
    ],
)
def test_a_job_that_forks_makes_no_second_pool(copy: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", POOL.format(copy=copy)],
        env=environment(), capture_output=True, text=True, timeout=EXIT_TIMEOUT_S, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(code)] * 4 + ["0"]
    assert done.stderr in ("", "0 1;" * 4)


EMBEDDED = (
    FORKED
    + """
import sys
import halfsync

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]

with halfsync.Server(app, bind="127.0.0.1:0", model=sys.argv[1]) as server:
    copy = forked()
    if not copy:
        from urllib.request import urlopen
        print(fate().decode(), urlopen(server.url).read().decode())
if copy:
    os._exit(7)
"""
)


@pytest.mark.parametrize("name", ["proactor", "thread", "pool", "process"])
def test_a_copy_of_an_embedded_server_ends_nothing(name: str) -> None:
    """It leaves the block of a server that is not its own."""
    done = subprocess.run(
        [sys.executable, "-c", EMBEDDED, name],
        env=environment(), capture_output=True, text=True, timeout=EXIT_TIMEOUT_S, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["7", "served"]
