"""An application that forks in a request: its copy ends, sends no answer, and is no second server."""

import signal
import socket
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.serving import MODELS, Serving

TURNS = 8  # twice as many as there are threads: none may be lost with a copy

FORKED = """
import os, sys

def forked():
    copy = os.fork()
    if copy == 0:
        sys.exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
"""

APP = (
    FORKED
    + """
def app(environ, start_response):
    path = environ["PATH_INFO"]
    code = forked() if path == "/before" else 0
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/write":
        write(b"a piece and ")
        code = forked()
    return pieces() if path == "/iterate" else Closed() if path == "/close" else [b"%d" % code]

def pieces():
    yield b"a piece and "
    yield b"%d" % forked()

class Closed:
    def __iter__(self):
        yield b"a piece and "
        yield b"3"

    def close(self):
        assert forked() == 3
"""
)

STREAM = (
    FORKED
    + """
class app:
    def received(self, data):
        return b"%d" % forked() if data == b"fork" else pieces() if data == b"iterate" else data

    def closed(self):
        pass

def pieces():
    yield b"a piece and "
    yield b"%d" % forked()
"""
)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def end(serving: Serving) -> None:
    """Drain, and check that it ends as if there had been no fork."""
    serving.signal(signal.SIGTERM)
    assert serving.exit_code() == 0
    assert serving.lines[-1].endswith(
        (" halfsync stopped", " halfsync stopped: 1 request was still finished, none cut off")
    )
    assert not [line for line in serving.lines if "Traceback" in line], serving.lines


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/before", b"3"),
        ("/write", b"a piece and 3"),
        ("/iterate", b"a piece and 3"),
        ("/close", b"a piece and 3"),
    ],
)
def test_a_copy_that_exits_sends_no_answer(
    tmp_path: Path, model: tuple[str, str], path: str, body: bytes
) -> None:
    with Serving(tmp_path, APP, *model) as serving:
        for _ in range(TURNS):
            with Connection(serving.address) as connection:
                # A copy that lived on would find the second request as well.
                connection.send(build(path) + build("/last", fields=[("Connection", "close")]))
                forked, last = connection.last_responses()
                assert (forked.status, forked.body) == (200, body)
                assert (last.status, last.body) == (200, b"0")
        assert fetch(serving.address).body == b"0"
        end(serving)


@pytest.mark.parametrize(("data", "answer"), [(b"fork", b"3"), (b"iterate", b"a piece and 3")])
def test_a_copy_of_a_stream_that_exits_sends_no_answer(
    tmp_path: Path, model: tuple[str, str], data: bytes, answer: bytes
) -> None:
    with Serving(tmp_path, STREAM, *model, "--stream") as serving:
        for _ in range(TURNS):
            with (
                socket.create_connection(serving.address, timeout=15) as client,
                client.makefile("rb") as got,
            ):
                client.sendall(data)
                assert got.read(len(answer)) == answer
                client.sendall(b"last")
                client.shutdown(socket.SHUT_WR)
                assert got.read() == b"last"
        end(serving)


def test_a_copy_that_is_made_when_a_stream_has_ended_exits(tmp_path: Path, model: tuple[str, str]) -> None:
    app = STREAM.replace("pass", 'os.write(2, b"closed with %d\\n" % forked())')
    with Serving(tmp_path, app, *model, "--stream") as serving:
        for turn in range(TURNS):
            with socket.create_connection(serving.address, timeout=15) as client:
                client.sendall(b"last")
                assert client.recv(4) == b"last"
            serving.wait_lines("closed with 3", turn + 1)
        end(serving)


CODES = """
import os, sys
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    copy = os.fork()
    if copy == 0:
        {end}
    return [b"%d" % os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])]
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit()", 0),
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('a reason')", 1),
        ("raise LookupError", 1),
    ],
)
def test_a_copy_ends_with_the_code_that_python_would_end_with(tmp_path: Path, end: str, code: int) -> None:
    with Serving(tmp_path, CODES.format(end=end)) as serving:
        assert fetch(serving.address).body == b"%d" % code
