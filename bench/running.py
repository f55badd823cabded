"""One server's life in a measurement: started on its processor, awaited, measured, ended by its pid."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench import client
from bench.proc import listens
from halfsync.lab.kernel import pids_of, pinned

START_S = 15
"""How long a server may take to its first answer."""
STOP_S = 3
"""How long a server may take to stop when asked to, before it is killed."""
POLL_S = 0.0005
"""How often readiness is tried, and so the resolution of the start-up figure."""
FIRST_PORT = 20_000
"""Below the ephemeral range, so that no client's connection can hold a port that a server is to be given."""
FOLDERS = re.compile(r"(?<![\w:.+-])/(?:[\w.+-]+/)+")
_ports = count(FIRST_PORT + os.getpid() % 8_000)


class StartError(Exception):
    """A server did not come up, or ended while it was measured; the message is the row's text."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers: its port, its first process, and how long it took to start."""

    port: int
    process: subprocess.Popen[bytes]
    startup_ms: float

    @property
    def session(self) -> int:
        """The session's id, which is the id of the first process."""
        return self.process.pid


def free_port() -> int:
    """A port on which no program listens."""
    for port in _ports:
        with socket.socket() as sock, suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((client.HOST, port))
            return port
    raise AssertionError("count() does not end")


@contextmanager
def running(
    args: list[str], port: int, *, cpu: int, cwd: Path, env: dict[str, str], log: Path
) -> Iterator[Running]:
    """Start a server, wait until it answers, yield it, and end every process of its session whatever happens.

    Raises StartError if it does not come up, or if it has ended by itself when the body is done.
    """
    with log.open("wb") as output, pinned({cpu}):
        started = time.monotonic()
        process = subprocess.Popen(
            args,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_answer(process, port, started + START_S, log)
        server = Running(port, process, (time.monotonic() - started) * 1000)
        if not listens(server.session, port):
            # Another program took the port first, and it must not be given a load.
            raise StartError("did not start: its port is held by another program")
        yield server
        if process.poll() is not None:
            raise StartError(f"ended under load: {_end(process, log)}")
    finally:
        stop(process)


def _await_answer(process: subprocess.Popen[bytes], port: int, deadline: float, log: Path) -> None:
    problem: Exception | None = None
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"did not start: {_end(process, log)}")
        try:
            if client.ask_once(port, "/").status == 200:
                return
            problem = ValueError("it answers, but not 200")
        except (OSError, ValueError) as error:
            problem = error
        time.sleep(POLL_S)
    raise StartError(f"no answer within {START_S} s: {problem}")


def _end(process: subprocess.Popen[bytes], log: Path) -> str:
    """How a process ended: its signal or status, and the last line it wrote."""
    status = process.returncode
    how = signal.Signals(-status).name if status < 0 else f"exit {status}"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{how}: {lines[-1][:120]}" if lines else how


def without_folders(text: str) -> str:
    """A message as a report shows it, which is read on other machines."""
    return FOLDERS.sub("", text)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server and whatever it has started: asked once, then killed, each process by its pid."""
    session = process.pid
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S)
    for pid in pids_of(session):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
