"""A small server of processes, whose children end in bursts, and which reaps them, or not, as it is told.

It is a program of its own (`python -I forking.py ORDER`, as JSON), which imports nothing of halfsync, so that its
children are small, and prints what it found. It lets
itself have only so many processes: with RLIMIT_NPROC, which counts those of a user and does not bind root. As root it
becomes a user first that has no other process; if that cannot be, it counts its children itself. All its children are
gone when it ends, unless it is killed: then those that run end by themselves, and the zombies are left to whatever
adopts them.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

NOBODY = 61_234
"""A user that has no processes."""
MOST_DESCRIPTORS = 64
KERNEL_MEMORY = ("SUnreclaim:", "KernelStack:", "PageTables:")
REAP_NONE, REAP_ONE, REAP_ALL, REAP_IGNORE = "none", "one", "all", "ignore"


@dataclass(frozen=True, slots=True)
class Order:
    """What to do: `children` in bursts of `burst`, with room for `room` processes.

    reap: none; one for each SIGCHLD; all at each SIGCHLD; or ignore, SIGCHLD being ignored, so that the kernel does it.
    """

    reap: str
    children: int
    burst: int
    room: int


@dataclass(frozen=True, slots=True)
class Found:
    """What became of the children. `kernel_bytes` is by how much the memory of the kernel's own records grew.

    `limited`: the kernel limits the number, and not this program. `first_refused`: how many had been started when the
    first one could not be, or -1.
    """

    started: int
    refused: int
    first_refused: int
    zombies: int
    kernel_bytes: int
    limited: bool
    elapsed_s: float


def main(arguments: list[str]) -> None:
    """Carry out an order, and print what was found."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    order = Order(**json.loads(arguments[0]))
    limited = limit(order.room)
    try:
        found = run(order, limited)
    finally:
        reap_all()
    print(json.dumps(asdict(found)))


def limit(room: int) -> bool:
    """Let this process have so many children at most, and return whether the kernel sees to it."""
    if os.geteuid() == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        except OSError:
            return False  # a container whose root is not one to the system
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    wanted = tasks_of(os.getuid()) + room
    if hard != resource.RLIM_INFINITY and wanted > hard:
        return False
    resource.setrlimit(resource.RLIMIT_NPROC, (wanted, hard))
    return True


def tasks_of(user: int) -> int:
    """Return how many processes and threads a user has."""
    tasks = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                lines = (process / "status").read_text(encoding="utf-8", errors="replace").splitlines()
                status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
                if int(status["Uid"].split()[0]) == user:
                    tasks += int(status["Threads"])
    return tasks


def run(order: Order, limited: bool) -> Found:
    """Start all children, burst by burst; see the end of each burst, and then handle the signals that have come."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    # A pending signal that is blocked is kept, unless it is ignored.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN if order.reap == REAP_IGNORE else lambda *_: None)
    started: list[int] = []
    refused, first_refused = 0, -1
    before, began = kernel_bytes(), time.monotonic()
    while (left := order.children - len(started) - refused) > 0:
        wanted = min(order.burst, left)
        room = wanted if limited else max(0, order.room - count_zombies(started))
        burst = start_burst(min(wanted, room))
        started += burst
        if len(burst) < wanted:
            first_refused = len(started) if first_refused < 0 else first_refused
            refused += wanted - len(burst)
        handle_signals(order.reap)
    elapsed_s = time.monotonic() - began
    zombies = count_zombies(started)
    return Found(len(started), refused, first_refused, zombies, kernel_bytes() - before, limited, elapsed_s)


def start_burst(wanted: int) -> list[int]:
    """Start children that all wait, let them end together, and return those that could be started.

    When this returns, each has ended. None was reaped here.
    """
    waiting, gate = os.pipe()
    burst: list[int] = []
    try:
        for _ in range(wanted):
            try:
                pid = os.fork()
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                break
            if pid == 0:
                _wait_and_end(waiting, gate)
            burst.append(pid)
    finally:
        os.close(gate)
        os.close(waiting)
    for pid in burst:
        with suppress(ChildProcessError):  # SIGCHLD is ignored
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return burst


def _wait_and_end(waiting: int, gate: int) -> None:
    """Wait until the parent closes the gate, or is gone. Does not return."""
    try:
        os.close(gate)
        os.read(waiting, 1)
    finally:
        os._exit(0)


def handle_signals(reap: str) -> None:
    """Do for each SIGCHLD that has come what a handler would. One that comes while it is pending is not counted."""
    while signal.sigtimedwait({signal.SIGCHLD}, 0) is not None:
        if reap == REAP_ONE:
            reap_one()
        elif reap == REAP_ALL:
            while reap_one():
                pass


def reap_one() -> bool:
    """Reap a child that has ended, and return whether there was one."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def reap_all() -> None:
    """Reap all children. They have ended, or do so now, since their gate is closed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    os.closerange(3, MOST_DESCRIPTORS)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def count_zombies(started: list[int]) -> int:
    """Return how many of these children have ended and were not reaped."""
    zombies = 0
    for pid in started:
        with suppress(ChildProcessError):
            zombies += os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    return zombies


def kernel_bytes() -> int:
    """Return how much memory the kernel uses for its own records, in the whole system, without what it can give up."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(KERNEL_MEMORY))


if __name__ == "__main__":
    main(sys.argv[1:])
