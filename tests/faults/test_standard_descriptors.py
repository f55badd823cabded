"""Standard input, output and error may be closed: text written to their numbers reaches no connection."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.client import Connection, build
from tests.faults.serving import EXIT_TIMEOUT_S, MODELS, environment
from tests.sharing import processes
from tests.wsgi import until

APP = """
import os
from contextlib import suppress

def app(environ, start_response):
    print("printed", flush=True)
    for number in (0, 1, 2):
        with suppress(OSError):
            os.write(number, b"written\\n")
    if environ["PATH_INFO"] == "/held":
        open("gate").read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"clean"]
"""
BIND = "s"  # a socket file, whose path must be short


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


@contextmanager
def serving(directory: Path, closed: tuple[int, ...], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Serve in a process of its own that is started with these descriptors closed, and is always ended."""
    (directory / "served.py").write_text(APP)
    serve = [sys.executable, "-m", "halfsync", "serve", "served:app", "-b", f"unix:{BIND}", *options]
    close = " ".join(f"{number}>&-" for number in closed)
    with (directory / "told").open("wb") as told:
        process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" {close}', "sh", *serve],
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def connect(directory: Path) -> Connection:
    """Connect once the server listens."""
    client = socket.socket(socket.AF_UNIX)
    until(lambda: client.connect_ex(str(directory / BIND)) == 0)
    return Connection(client)


def opened(process: int, numbers: tuple[int, ...]) -> set[str]:
    """Return what these descriptors are, as far as they are open, in a process and all that descend from it."""
    links = set()
    for pid in processes(process):
        for number in numbers:
            with suppress(FileNotFoundError):
                links.add(str(Path(f"/proc/{pid}/fd/{number}").readlink()))
    return links


@pytest.mark.parametrize("closed", [(1,), (0, 1, 2)], ids=["output", "all"])
def test_it_serves_with_closed_standard_descriptors(
    tmp_path: Path, model: tuple[str, str], closed: tuple[int, ...]
) -> None:
    with serving(tmp_path, closed, *model) as process:
        with connect(tmp_path) as one, connect(tmp_path) as other:
            for connection in (one, other, one, other):
                connection.send(build())
                response = connection.response()
                assert (response.status, response.body) == (200, b"clean")
            # Neither a socket nor a pipe of the server's: a write to one of its pipes is a command.
            assert opened(process.pid, closed) <= {"/dev/null"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(EXIT_TIMEOUT_S) == 0
    assert b"Traceback" not in (tmp_path / "told").read_bytes()


def test_what_is_written_reaches_no_client_that_is_accepted_once_the_listeners_are_closed(
    tmp_path: Path, model: tuple[str, str]
) -> None:
    os.mkfifo(tmp_path / "gate")
    one = ("--threads", "1", "--max-connections", "1", "--max-children", "1")
    with serving(tmp_path, (1,), *model, *one) as process:
        with connect(tmp_path) as held, connect(tmp_path) as waits:
            held.send(build("/held"))
            with (tmp_path / "gate").open("w"):  # which the application has opened, and reads to its end
                waits.send(build())
                process.send_signal(signal.SIGTERM)
                until(lambda: not (tmp_path / BIND).exists())  # the listeners are closed, their numbers free
            assert held.response().body == b"clean"
            response = waits.response()
            assert (response.status, response.body) == (200, b"clean")
            assert waits.rest() == b""
        assert process.wait(EXIT_TIMEOUT_S) == 0
    assert b"Traceback" not in (tmp_path / "told").read_bytes()
