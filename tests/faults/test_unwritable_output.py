"""Standard output and error that accept nothing: a server starts, answers, logs, drains and ends as usual."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.client import Connection, build
from tests.faults.serving import EXIT_TIMEOUT_S, MODELS, children, environment
from tests.wsgi import until

APP = """
import os, sys, time
class Raising:
    def __getattr__(self, name):
        raise RuntimeError(name)
def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raises":
        raise RuntimeError("of the application's")
    if path == "/held":
        open("entered", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.005)
    if path == "/prints":
        print("printed", end="")  # and not flushed before the end
    if path == "/replaces":
        sys.stderr = sys.stdout = Raising()
    if path == "/logs":
        import logging
        class Logging:
            def write(self, text):
                logging.getLogger("printed").error(text)
            def flush(self):
                pass
        sys.stderr = Logging()
    if path == "/removes":
        sys.stderr = sys.stdout = None
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"whole" * 1000]
"""
BIND = "s"  # a socket file, whose path must be short
WORKERS = ("--workers", "2")
SETUPS = {**MODELS, **{f"{name}-workers": (*model, *WORKERS) for name, model in MODELS.items()}}


def full_pipe(*, blocking: bool) -> tuple[int, int]:
    """Return a pipe in which there is no room, and whose reader does not read."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, blocking)
    return writer, reader


def reader_gone() -> tuple[int, int]:
    """Return a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer, -1


def hung_up() -> tuple[int, int]:
    """Return a terminal that has hung up."""
    master, terminal = os.openpty()
    os.close(master)
    return terminal, -1


# The descriptor that is written to, and the one that must stay open for it.
KINDS: dict[str, Callable[[], tuple[int, int]]] = {
    "gone": reader_gone,
    "full-device": lambda: (os.open("/dev/full", os.O_WRONLY), -1),
    "full-pipe": lambda: full_pipe(blocking=True),
    "full-pipe-nonblocking": lambda: full_pipe(blocking=False),
    "hung-up": hung_up,
    "closed": lambda: (-1, -1),
}


@contextmanager
def opened(kind: str) -> Iterator[int]:
    """Open a file that takes nothing; -1: none at all."""
    descriptors = KINDS[kind]()
    try:
        yield descriptors[0]
    finally:
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)


def command(directory: Path, descriptor: int, *arguments: str) -> subprocess.Popen[bytes]:
    """Run a command line whose output and errors go there."""
    (directory / "served.py").write_text(APP)
    close = "1>&- 2>&-" if descriptor < 0 else ""
    buffered = {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(
        ["sh", "-c", f'exec "$@" {close}', "sh", sys.executable, "-m", "halfsync", *arguments],
        cwd=directory,
        env=buffered,
        stdin=subprocess.DEVNULL,
        stdout=descriptor if descriptor >= 0 else None,
        stderr=descriptor if descriptor >= 0 else None,
        start_new_session=True,
    )


@contextmanager
def serving(directory: Path, descriptor: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Serve, and wait until it accepts; it is always ended."""
    process = command(directory, descriptor, "serve", "served:app", "-b", f"unix:{BIND}", *options)
    try:
        until(lambda: connects(directory), EXIT_TIMEOUT_S)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def connects(directory: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(directory / BIND)) == 0


def connect(directory: Path) -> Connection:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(directory / BIND))
    return Connection(client)


def ask(directory: Path, target: str = "/") -> int:
    with connect(directory) as connection:
        connection.send(build(target))
        return connection.response().status


def see_it_drain(directory: Path, process: subprocess.Popen[bytes]) -> None:
    """See that a request which runs at SIGTERM is answered, and that the server ends well, and soon."""
    with connect(directory) as held:
        held.send(build("/held"))
        until((directory / "entered").exists)
        process.send_signal(signal.SIGTERM)
        until(lambda: not connects(directory))
        (directory / "go").touch()
        response = held.response()
        assert (response.status, len(response.body)) == (200, 5000)
    assert process.wait(EXIT_TIMEOUT_S) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setup", SETUPS)
def test_it_serves_and_drains_as_if_all_was_written(tmp_path: Path, setup: str, kind: str) -> None:
    options = (*SETUPS[setup], "--access-log", "-", "--threads", "2")
    with opened(kind) as descriptor, serving(tmp_path, descriptor, *options) as process:
        for _ in range(3):
            assert ask(tmp_path) == 200
            assert ask(tmp_path, "/raises") == 500
            assert ask(tmp_path, "/prints") == 200
        see_it_drain(tmp_path, process)


def wait_for_others(process: subprocess.Popen[bytes], before: set[int]) -> None:
    """Wait until two processes serve, and none of these is left."""
    until(lambda: len(children(process.pid)) == 2 and not children(process.pid) & before)


@pytest.mark.parametrize("kind", KINDS)
def test_reloads_replace_and_end_all_the_same(tmp_path: Path, kind: str) -> None:
    with opened(kind) as descriptor, serving(tmp_path, descriptor, *WORKERS) as process:
        until(lambda: len(children(process.pid)) == 2)
        for _ in range(2):
            own = children(process.pid)
            process.send_signal(signal.SIGHUP)
            wait_for_others(process, own)
            assert ask(tmp_path) == 200
        own = children(process.pid)
        os.kill(min(own), signal.SIGKILL)
        until(lambda: len(children(process.pid) - own) == 1)
        (tmp_path / "served.py").write_text("open('tried', 'w')\nraise RuntimeError('half written')")
        process.send_signal(signal.SIGHUP)
        until((tmp_path / "tried").exists)
        until(lambda: len(children(process.pid)) == 2)
        assert ask(tmp_path) == 200
        see_it_drain(tmp_path, process)


@pytest.mark.parametrize("kind", KINDS)
def test_development_goes_on_anyway(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("watchfiles")
    with opened(kind) as descriptor, serving(tmp_path, descriptor, "--reload") as process:
        assert ask(tmp_path) == 200
        (tmp_path / "served.py").write_text("raise RuntimeError('half written')")
        until(lambda: ask(tmp_path) == 500)
        (tmp_path / "served.py").write_text(APP)
        until(lambda: ask(tmp_path) == 200)
        process.send_signal(signal.SIGTERM)
        assert process.wait(EXIT_TIMEOUT_S) == 0


@pytest.mark.parametrize("kind", ["gone", "full-pipe"])
@pytest.mark.parametrize("target", ["/replaces", "/removes", "/logs"])
@pytest.mark.parametrize("setup", ["proactor", "thread", "proactor-workers"])
def test_an_application_may_replace_the_streams(tmp_path: Path, setup: str, target: str, kind: str) -> None:
    with opened(kind) as descriptor, serving(tmp_path, descriptor, *SETUPS[setup]) as process:
        for _ in range(4):
            assert ask(tmp_path, target) == 200
            assert ask(tmp_path, "/raises") == 500
        see_it_drain(tmp_path, process)


@pytest.mark.parametrize("setup", SETUPS)
def test_a_reader_that_ends_after_a_line_has_no_effect(tmp_path: Path, setup: str) -> None:
    reader, writer = os.pipe()
    with serving(tmp_path, writer, *SETUPS[setup]) as process:
        os.close(writer)
        assert b"serves" in os.read(reader, 10_000)
        os.close(reader)
        assert ask(tmp_path, "/raises") == 500
        see_it_drain(tmp_path, process)


@pytest.mark.parametrize("setup", ["proactor", "process", "proactor-workers"])
def test_dropped_lines_are_reported_once_there_is_room(tmp_path: Path, setup: str) -> None:
    writer, reader = full_pipe(blocking=True)
    with serving(tmp_path, writer, *SETUPS[setup]) as process:
        os.close(writer)
        for _ in range(4):
            assert ask(tmp_path, "/raises") == 500
        os.set_blocking(reader, False)
        read = bytearray()

        def is_told() -> bool:
            with suppress(BlockingIOError):
                read.extend(os.read(reader, 1 << 16))
            assert ask(tmp_path, "/raises") == 500
            return b" dropped: standard error did not accept" in read

        if setup == "process":  # each child reports its own dropped lines, and so does the parent
            os.set_blocking(reader, True)
            read.extend(os.read(reader, 1 << 20))  # there is room before it says more
            process.send_signal(signal.SIGTERM)
            while data := os.read(reader, 1 << 16):
                read.extend(data)
            assert b"line was dropped: standard error did not accept it" in read
        else:
            until(is_told)
            process.send_signal(signal.SIGTERM)
        assert process.wait(EXIT_TIMEOUT_S) == 0
    os.close(reader)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("check", "served:app"), 0),
        (("--version",), 0),
        (("--help",), 0),
        (("serve", "--help"), 0),
        (("check", "served:app", "--threads", "none"), 2),
        (("serve", "served:missing", "-b", "127.0.0.1:0"), 3),
        (("serve", "served:missing", "-b", "127.0.0.1:0", "--workers", "2"), 3),
        (("serve", "served:app", "-b", "nowhere.invalid:1"), 4),
    ],
    ids=str,
)
def test_exit_codes_are_what_they_are(tmp_path: Path, arguments: Sequence[str], code: int, kind: str) -> None:
    with opened(kind) as descriptor:
        began = time.monotonic()
        assert command(tmp_path, descriptor, *arguments).wait(EXIT_TIMEOUT_S) == code
        print(f"{time.monotonic() - began:.1f} s")


def test_what_standard_output_does_not_accept_is_reported(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(APP)
    with open("/dev/full", "w") as full:  # noqa: PTH123
        run = subprocess.run(
            [sys.executable, "-m", "halfsync", "check", "served:app"],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert run.returncode == 0
    assert run.stderr.startswith("halfsync: standard output did not accept ")
    assert run.stderr.endswith(" lines: no space left on device\n")
