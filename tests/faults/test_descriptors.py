"""No free descriptor: new connections wait, open ones are served, and only requests that need one are refused."""

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.client import Connection, CutError, build, fetch
from tests.faults.serving import MODELS, Serving
from tests.faults.watching import descriptors, processor_s
from tests.sharing import first_free_descriptor, processes
from tests.wsgi import pattern, until

WATCHED_S = 1.0  # that new connections wait while the processor time is measured: ten pauses of accepting
PROCESSOR_MOST_S = 0.2  # in that time; a server that spins takes all of it
RESIDENTS = 3
FILE = 300_000
LARGE = 10_000_000  # more than sockets and memory hold
UPLOAD = bytes(200_000)  # more than is kept in memory

APP = f"""
import os
FILE = open("files/file", "rb")

class Kept:  # without the close that would be called at the end of a response
    read, fileno, tell = FILE.read, FILE.fileno, FILE.tell

class Large:
    def __iter__(self):
        return (b"x" * 100_000 for _ in range({LARGE} // 100_000))
    def close(self):
        os.write(2, b"made, or given up\\n")

def app(environ, start_response):
    body = environ["wsgi.input"].read()
    path = environ["PATH_INFO"]
    if path == "/open":
        open("files/file").close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/large":
        return Large()
    if path == "/wrapped":
        FILE.seek(0)
        return environ["wsgi.file_wrapper"](Kept())
    return [b"%d bytes" % len(body)]
"""


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of each model in turn, and of each poller for the engine's."""
    return str(request.param)


@pytest.fixture
def serving(tmp_path: Path, name: str) -> Iterator[Serving]:
    """Return a server of each model in turn, with static files."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "file").write_bytes(pattern(FILE))
    with Serving(tmp_path, APP, *MODELS[name], "--static", "/static=files") as made:
        yield made


@contextmanager
def no_descriptor_left(*pids: int) -> Iterator[None]:
    """Let these processes have the descriptors that they have, and no other."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    try:
        for pid, (_, hard) in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (first_free_descriptor(pid), hard))
        yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def ask(connection: Connection, target: str = "/", body: bytes | None = None) -> tuple[int, bytes]:
    """Make a request, and return the status and the body of its response."""
    connection.send(build(target, method="GET" if body is None else "POST", body=body))
    response = connection.response()
    return response.status, response.body


def residents(serving: Serving, stack: ExitStack) -> list[Connection]:
    """Connect clients, and let them be served, before descriptors are short."""
    made = [stack.enter_context(Connection(serving.address)) for _ in range(RESIDENTS)]
    for connection in made:
        assert ask(connection) == (200, b"0 bytes")
    held, living = descriptors(serving.process.pid), len(list(processes(serving.process.pid)))
    # A client connects and disconnects: afterwards no descriptor is held for a moment only. In the model `process` a
    # parent that has reaped this child has closed the descriptors of earlier ones, as it does after it has forked.
    assert fetch(serving.address).status == 200
    until(lambda: descriptors(serving.process.pid) <= held)
    until(lambda: len(list(processes(serving.process.pid))) == living)
    return made


def test_new_connections_wait_and_cost_no_processor_time(serving: Serving, name: str) -> None:
    pid = serving.process.pid
    with ExitStack() as stack:
        there = residents(serving, stack)
        with no_descriptor_left(pid):
            newcomer = stack.enter_context(Connection(serving.address))
            newcomer.send(build())
            newcomer.socket.settimeout(WATCHED_S)
            before = processor_s(pid)
            with pytest.raises(TimeoutError):
                newcomer.response()
            taken = processor_s(pid) - before
            print(f"{taken:.2f} s of processor time in {WATCHED_S} s")
            assert taken < PROCESSOR_MOST_S
            for connection in there:
                assert ask(connection) == (200, b"0 bytes")
            newcomer.socket.settimeout(15)
            if name != "process":  # whose parent has no descriptor of its residents
                there[0].socket.close()
                assert newcomer.response().body == b"0 bytes"
        if name == "process":
            assert newcomer.response().body == b"0 bytes"
        assert ask(stack.enter_context(Connection(serving.address))) == (200, b"0 bytes")
        assert ask(there[1]) == (200, b"0 bytes")


def test_only_what_needs_one_is_refused(serving: Serving, name: str) -> None:
    pid = serving.process.pid
    with ExitStack() as stack:
        one, other, uploads = residents(serving, stack)
        with no_descriptor_left(*processes(pid)):
            assert ask(one, "/open")[0] == 500
            serving.wait_line("Too many open files")
            one.send(build("/static/file"))
            refused = one.response()
            assert (refused.status, refused.one("Retry-After")) == (503, "1")
            assert ask(one, "/wrapped") == (200, pattern(FILE)), (
                "it is read where it cannot be sent by sendfile"
            )
            assert ask(one) == ask(other) == (200, b"0 bytes")
            assert ask(uploads, body=bytes(1000)) == (200, b"1000 bytes")
            before = descriptors(pid)
            assert ask(uploads, body=UPLOAD)[0] == 503
            assert ask(one) == ask(other) == (200, b"0 bytes")
        uploads.socket.close()  # a refusal ends its connection
        until(lambda: descriptors(pid) < before)
        if name.startswith("proactor"):  # there the rest of an unread response waits on disk
            with no_descriptor_left(pid):
                other.send(build("/large"))
                serving.wait_line("made, or given up")  # and nothing is read before
                with pytest.raises((CutError, ConnectionResetError)):
                    other.response()
                assert ask(one) == (200, b"0 bytes")
        for target in ("/open", "/static/file", "/wrapped"):
            assert ask(one, target)[0] == 200
        assert ask(one, body=UPLOAD) == (200, b"%d bytes" % len(UPLOAD))
        assert ask(one, "/large")[0] == 200
