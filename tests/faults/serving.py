"""A `halfsync serve` in a process of its own: started, watched through its standard error, always ended."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import halfsync
from tests.wsgi import until

START_TIMEOUT_S = 30.0
EXIT_TIMEOUT_S = 30.0

# The options of each model, and of each poller for the engine's.
MODELS = {
    "proactor": ("--poller", "epoll"),
    "proactor-poll": ("--poller", "poll"),
    "thread": ("--model", "thread"),
    "pool": ("--model", "pool"),
    "process": ("--model", "process"),
}


def environment() -> dict[str, str]:
    """Let another process import the halfsync that this one tests; no setting comes from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HALFSYNC_")}
    return kept | {"PYTHONPATH": str(Path(halfsync.__file__).parent.parent), "PYTHONUNBUFFERED": "1"}


def children(pid: int) -> set[int]:
    """Return the children of a process; none if it has ended."""
    try:
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:
        return set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing uses.

    It is none of those that the system gives to others meanwhile, for port 0 and for connections.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(lowest // 2, lowest)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def stop(pid: int) -> None:
    """Stop a process, and wait until all of its threads have stopped: each finishes the system call that it is in."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: set(thread_states(pid)) <= {"T"})


def thread_states(pid: int) -> Iterator[str]:
    """Tell the state of each thread, as the kernel writes it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # it has just ended
            yield (task / "stat").read_text().rpartition(")")[2].split()[0]


class Serving:
    """A serving process, as a context manager. Its standard error is collected line by line.

    more: variables of its environment, beside those of `environment`. under: a command that runs it.
    bind: where to listen; "": as a file of settings says. command: what is run instead of `halfsync serve`.
    passed: descriptors that it inherits.
    """

    def __init__(
        self,
        directory: Path,
        application: str,
        *options: str,
        more: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
        bind: str = "127.0.0.1:0",
        command: Sequence[str] = (),
        passed: Sequence[int] = (),
    ) -> None:
        (directory / "served.py").write_text(application)
        where = ("-b", bind) if bind else ()
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            [
                *under,
                *(command or (sys.executable, "-m", "halfsync", "serve", "served:app", *where, *options)),
            ],
            cwd=directory,
            env=environment() | dict(more or {}),
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=passed,
            start_new_session=True,  # so that its children can be ended with it, whatever became of it
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        line = self.wait_line("serves", START_TIMEOUT_S)
        found = re.search(r"(?:https?|tcp|tls)://([0-9.]+):([0-9]+)", line)
        assert found, line
        self.address = (found[1], int(found[2]))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        assert self.process.stderr
        self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_line(self, part: str, timeout_s: float = EXIT_TIMEOUT_S) -> str:
        """Wait for a line with this part in it, and return the first."""

        def found() -> bool:
            return self._ended or any(part in line for line in self.lines)

        with self._changed:
            assert self._changed.wait_for(found, timeout_s), f"no {part!r} in {self.lines}"
            lines = [line for line in self.lines if part in line]
        assert lines, f"it ended without {part!r}: {self.lines}"
        return lines[0]

    def wait_lines(self, part: str, number: int) -> None:
        """Wait until so many lines have this part in them."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: sum(part in line for line in self.lines) >= number, EXIT_TIMEOUT_S
            ), self.lines

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for the process to end and return its code; all of its lines are there then."""
        code = self.process.wait(EXIT_TIMEOUT_S)
        self._reader.join(EXIT_TIMEOUT_S)
        return code
