"""An application sets SIGPIPE to its default, which ends a process: nothing that the server writes may raise it."""

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch, slow_reader
from tests.faults.serving import MODELS, Serving, environment
from tests.wsgi import until

LARGE = 32 << 20  # more than the sockets hold
TIMES = 5

APP = """
import os, signal, sys
from pathlib import Path
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
LARGE = Path("files/large")
PIECE = bytes(100_000)

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise ZeroDivisionError("on purpose")
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/file":
        return environ["wsgi.file_wrapper"](LARGE.open("rb"))
    if path == "/parts":
        return (PIECE for _ in range(330))
    if path == "/whole":
        return [bytes(33_000_000)]
    if path == "/disposition":
        return [signal.getsignal(signal.SIGPIPE).name.encode()]
    if path == "/mask":
        return [str(signal.SIGPIPE in signal.pthread_sigmask(signal.SIG_BLOCK, [])).encode()]
    return [b"hello"]
"""
PATHS = ("/file", "/parts", "/whole", "/static/large")


def reset(client: Connection) -> None:
    client.reset()


def finish_and_reset(client: Connection) -> None:
    """Leave as a client does that sends no more, and then takes no more: what is sent to it then is EPIPE."""
    client.socket.shutdown(socket.SHUT_WR)
    client.reset()


def close(client: Connection) -> None:
    """Close with bytes that were not read: the system resets."""
    client.socket.close()


LEAVES: dict[str, Callable[[Connection], None]] = {
    "reset": reset,
    "finish and reset": finish_and_reset,
    "close": close,
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with a large file, which the applications send."""
    folder = tmp_path / "files"
    folder.mkdir()
    with (folder / "large").open("wb") as file:
        file.truncate(LARGE)
    return folder


@pytest.mark.parametrize("path", PATHS)
def test_clients_that_disconnect_do_not_end_the_server(
    tmp_path: Path, files: Path, model: tuple[str, str], path: str
) -> None:
    log = tmp_path / "access.log"
    options = (*model, "--static", f"/static={files}", "--access-log", str(log))
    with Serving(tmp_path, APP, *options) as server:
        assert fetch(server.address, "/disposition").body == b"SIG_DFL"
        for leave in LEAVES.values():
            for number in range(TIMES):
                client = slow_reader(server.address)
                client.send(build(path))
                client.head()
                for _ in range(number):
                    client.some(50_000)
                leave(client)
        expected = 1 + len(LEAVES) * TIMES
        # A child that was killed has logged nothing.
        until(lambda: log.read_text().count("\n") == expected)
        assert fetch(server.address).body == b"hello"
        assert server.process.poll() is None
        server.signal(signal.SIGTERM)
        assert server.exit_code() == 0


def test_an_access_log_whose_reader_ends_does_not_end_the_server(
    tmp_path: Path, model: tuple[str, str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    requests = itertools.count(30, 30)

    def losses_are_told() -> bool:
        """Have lines written without a reader, and check what a later reader gets.

        The writer collects lines for some milliseconds: each time more requests come, until they take longer than that.
        """
        for _ in range(next(requests)):
            fetch(server.address)
        again = os.open(pipe, os.O_RDONLY)
        try:
            fetch(server.address)
            return b"lines were dropped" in os.read(again, 65_536)
        finally:
            os.close(again)

    with Serving(tmp_path, APP, *model, "--access-log", str(pipe)) as server:
        with Connection(server.address) as client:
            for number in range(10):
                client.send(build())
                assert client.response().body == b"hello"
                if number == 0:
                    os.set_blocking(reader, True)
                    assert os.read(reader, 65_536).endswith(b"\n")
                    os.close(reader)
        until(losses_are_told)
        for _ in range(3):
            assert fetch(server.address).body == b"hello"
        assert server.process.poll() is None
        server.signal(signal.SIGTERM)
        assert server.exit_code() == 0


def test_a_log_without_a_reader_does_not_end_the_server(tmp_path: Path, model: tuple[str, str]) -> None:
    (tmp_path / "served.py").write_text(APP)
    process = subprocess.Popen(
        [sys.executable, "-m", "halfsync", "serve", "served:app", "-b", "unix:s", *model],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr
    try:
        assert b"serves" in process.stderr.readline()
        process.stderr.close()
        for _ in range(3):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(tmp_path / "s"))
            with Connection(sock) as client:
                for path, status in (("/fails", 500), ("/", 200)):
                    client.send(build(path))
                    assert client.response().status == status
        assert process.poll() is None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_what_the_application_starts_inherits_no_blocked_signal(
    tmp_path: Path, files: Path, model: tuple[str, str]
) -> None:
    with Serving(tmp_path, APP, *model) as server, Connection(server.address) as client:
        for path in ("/mask", "/file", "/mask", "/fails", "/mask"):
            client.send(build(path))
            response = client.response()
            if path == "/mask":
                assert response.body == b"False"
