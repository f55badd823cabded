"""A server under test: `python -m halfsync serve`, from its start to its end, in a session of its own.

The lab opens the listening socket and passes it on, so that no port is guessed, and it learns by the service manager's
protocol (sd_notify(3)) when the server serves. Both are interfaces that any user has.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from halfsync.lab import kernel
from halfsync.lab.errors import MeasureError

HOST = "127.0.0.1"
START_S = 30.0
"""How long a server may take until it says that it is ready."""
STOP_S = 3.0
"""How long it may take to end when it is asked to, before it is killed."""
BACKLOG = 4096
LOG_LINES = 5
"""How many of a log's last lines are told of a server that failed."""
SETTINGS = ("HALFSYNC_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")
"""Variables that begin so are not passed on: they would change the server, or are the lab's own."""
TETHERED = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):  # otherwise it has ended before this was asked for
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""A program that becomes another one, which ends when its parent does, even if that is killed (prctl(2))."""


class ServerUnderTest:
    """A server that serves on a port of 127.0.0.1. `pid` is its first process, whose id its session has too.

    `ended` is what it has used in its whole life, with the threads and children that ended before it: it is there
    once the server has ended.
    """

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.port = port
        self.pid = process.pid
        self.session = process.pid
        self.ended: kernel.Cost | None = None
        self.process = process
        self.log = log

    def cost(self) -> kernel.Cost:
        """Return what its processes have used so far."""
        return kernel.cost_of(self.session)

    def memory(self) -> kernel.Memory:
        """Return the memory of its processes now."""
        return kernel.memory_of(self.session)

    def settle(self) -> bool:
        """Wait until it does nothing. False: it did not in time."""
        return kernel.settle(self.session)

    def last_lines(self, count: int = LOG_LINES) -> str:
        """Return the end of its log, for a message."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-count:]) or "its log is empty"

    def check(self) -> None:
        """Raise MeasureError if it has ended by itself."""
        if _wait(self, 0):
            raise MeasureError(f"the server ended ({_how(self.process.returncode)}): {self.last_lines()}")


@contextmanager
def serving(
    target: str,
    *flags: str,
    python: str = sys.executable,
    cpus: Set[int] | None = None,
    environment: Mapping[str, str] | None = None,
    chdir: Path | None = None,
) -> Iterator[ServerUnderTest]:
    """Serve an application, `module:callable`, for as long as the body runs.

    flags: of `halfsync serve`. cpus: the processors that it may use. environment: variables besides those of this
    process. Raises MeasureError if the server does not begin to serve, or has ended when the body is done.
    """
    with tempfile.TemporaryDirectory(prefix="halfsync-lab-") as folder:
        log = Path(folder) / "server.log"
        command = [*tethered(python), "-m", "halfsync", "serve", target, *flags]
        with _notify_socket() as notify:
            variables = _environment(environment or {}, notify)
            try:
                server = _start(command, cpus=cpus, environment=variables, chdir=chdir, log=log)
            except OSError as error:
                raise MeasureError(f"{python} cannot be started: {error}") from None
            try:
                _await_ready(server, notify)
                yield server
                server.check()
            finally:
                stop(server)


def tethered(python: str) -> list[str]:
    """Return how to start an interpreter that gets SIGTERM when the thread that started it ends, or its process."""
    return [python, "-I", "-S", "-c", TETHERED, str(os.getpid())]


def _start(
    command: list[str], *, cpus: Set[int] | None, environment: dict[str, str], chdir: Path | None, log: Path
) -> ServerUnderTest:
    # Only the server has the socket once it has started: if it ends, clients are refused, and do not wait.
    with (
        socket.create_server((HOST, 0), backlog=BACKLOG) as listener,
        kernel.pinned(cpus),
        log.open("wb") as output,
    ):
        number = listener.fileno()
        process = subprocess.Popen(
            [*command, "--bind", f"fd://{number}"],
            pass_fds=[number],
            cwd=chdir,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        return ServerUnderTest(listener.getsockname()[1], process, log)


@contextmanager
def _notify_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.bind("")  # the system chooses an abstract name
        yield notify


def _environment(more: Mapping[str, str], notify: socket.socket) -> dict[str, str]:
    name: bytes = notify.getsockname()
    return {**inherited(), **more, "NOTIFY_SOCKET": "@" + name[1:].decode()}


def inherited() -> dict[str, str]:
    """Return the variables that a halfsync which the lab starts gets: those of this process, without settings.

    It may run in another directory, and must find what this process finds there.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    if "PYTHONPATH" in kept:
        kept["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, kept["PYTHONPATH"].split(os.pathsep)))
    return kept


def _await_ready(server: ServerUnderTest, notify: socket.socket) -> None:
    """Wait until the server says that it is ready. MeasureError if it ends before, or takes too long."""
    deadline = time.monotonic() + START_S
    with _watched(server.pid) as ended:
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([notify.fileno(), ended], [], [], left)
            if notify.fileno() in ready and b"READY=1" in notify.recv(4096).split(b"\n"):
                return
            if ended in ready:
                _wait(server, 0)
                raise MeasureError(
                    f"the server did not start ({_how(server.process.returncode)}): {server.last_lines()}"
                )
    raise MeasureError(f"the server was not ready within {START_S:.0f} s: {server.last_lines()}")


@contextmanager
def _watched(pid: int) -> Iterator[int]:
    """Open a descriptor that becomes readable when a child of this process ends."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _wait(server: ServerUnderTest, within_s: float) -> bool:
    """Wait for a server's end, and note what it has used in its life. False: it has not ended in time."""
    if server.process.returncode is not None:
        return True
    with _watched(server.pid) as ended:
        if not select.select([ended], [], [], within_s)[0]:
            return False
    _, status, usage = os.wait4(server.pid, 0)
    server.process.returncode = os.waitstatus_to_exitcode(status)
    server.ended = kernel.cost_of_usage(usage)
    return True


def _how(status: int | None) -> str:
    """Say how a process ended."""
    if status is not None and status < 0:
        return signal.Signals(-status).name
    return f"exit status {status}"


def stop(server: ServerUnderTest) -> None:
    """End a server and all that it has started: ask it once, then kill each process by its pid."""
    if not _wait(server, 0):
        server.process.terminate()
        _wait(server, STOP_S)
    for pid in kernel.pids_of(server.session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _wait(server, STOP_S)
