"""Send requests in an open loop: each at its time, whatever became of those before it.

`run` plays a job in a process of its own, on the processor of the load; `python -m bench.openloop` is that process.
Latencies count from the time at which a request was meant to be sent, so that a stall of the server, or of this
program, is seen by every request that was due in it. How late this program itself was is measured, and beyond
`LATE_S` the job has failed: its figures would be this program's.

A client gives up by closing its connection. One that waits for a connection is a client like the others: there are as
many connections as requests under way.
"""

from __future__ import annotations

import errno
import gc
import json
import math
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Any

from bench.client import HOST
from bench.load import LoadError
from halfsync.lab.kernel import pinned

ROOT = Path(__file__).parents[1]
LATE_S = 0.02
"""How late the 99th percentile of the requests may be sent."""
LEAD_S = 0.05
"""From the start of the loop to the first request."""
GRACE_S = 10
"""How much longer than its schedule the process may live before it is killed."""
EVENTS = 64
"""Events that are handled before the clock is read again."""
OWN_LIMITS = frozenset({errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""Errors of a connect that say nothing about the server."""


class Outcome(Enum):
    """What became of a request."""

    IN_TIME = "in time"
    REFUSED = "refused"
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """What to send. `schedule` has a time in seconds from the start and an index into `paths` for each request.

    `fresh`: each on a connection of its own. A request that was not answered in time is sent again at once, as one
    more request, up to `retries` times.
    """

    port: int
    paths: tuple[str, ...]
    schedule: tuple[tuple[float, int], ...]
    patience_s: float
    fresh: bool = False
    retries: int = 0


@dataclass(slots=True)
class Attempt:
    """One request: when it was due, in seconds from the start, how late it was sent, and what became of it."""

    at_s: float
    path: int
    retry: int = 0
    late_s: float = 0.0
    took_s: float = 0.0
    outcome: Outcome | None = None


@dataclass(slots=True, eq=False)
class Link:
    """A connection, and the request that is under way on it. `reused`: it has had an answer before."""

    sock: socket.socket
    attempt: Attempt | None = None
    data: bytearray = field(default_factory=bytearray)
    reused: bool = False
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of a response, and whether its connection can be used again."""

    status: int
    keeps: bool


def parse(data: bytes | bytearray) -> Answer | None:
    """The response in what was received, or None if it is not whole. ValueError if it is none.

    One without a length counts once its head is there; its connection is not used again.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    lines = bytes(data[:end]).lower().split(b"\r\n")
    version, status = lines[0].split(None, 2)[:2]
    fields = dict(line.split(b":", 1) for line in lines[1:] if b":" in line)
    length = fields.get(b"content-length")
    if length is not None and len(data) < end + 4 + int(length):
        return None
    keeps = (
        length is not None and version == b"http/1.1" and fields.get(b"connection", b"").strip() != b"close"
    )
    return Answer(int(status), keeps)


class Player:
    """The loop of one job. One thread."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests = [_request(path, fresh=job.fresh) for path in job.paths]
        self._poll = select.epoll()
        self._links: dict[int, Link] = {}
        self._idle: dict[int, Link] = {}
        self._sent: list[tuple[float, int, Attempt, Link]] = []
        self._numbers = count()
        self._done: list[Attempt] = []
        self._waiting = 0
        self._start = 0.0

    def play(self) -> list[Attempt]:
        """Send everything, wait for every outcome, and return the requests, retries among them."""
        schedule, at = self._job.schedule, 0
        self._start = time.monotonic() + LEAD_S
        try:
            while at < len(schedule) or self._waiting:
                while at < len(schedule) and schedule[at][0] <= self._now():
                    self._send(Attempt(*schedule[at]))
                    at += 1
                self._give_up()
                due = schedule[at][0] if at < len(schedule) else None
                for descriptor, _ in self._poll.poll(self._pause(due), EVENTS):
                    self._on_event(descriptor)
        finally:
            for link in list(self._links.values()):
                self._close(link)
            self._poll.close()
        return self._done

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _pause(self, due: float | None) -> float:
        """Seconds until something is to be done: a request that is due, or a client that gives up."""
        times = [at for at in (due, self._sent[0][0] if self._sent else None) if at is not None]
        return max(0.0, min(times) - self._now()) if times else 0.0

    def _send(self, attempt: Attempt) -> None:
        self._waiting += 1
        attempt.late_s = self._now() - attempt.at_s
        if self._idle:
            self._start_on(self._idle.popitem()[1], attempt)
        else:
            self._connect(attempt)

    def _connect(self, attempt: Attempt) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        error = sock.connect_ex((HOST, self._job.port))
        if error in OWN_LIMITS:
            sock.close()
            raise OSError(error, f"the load generator cannot connect: {errno.errorcode[error]}")
        if error not in (0, errno.EINPROGRESS):
            sock.close()
            self._end(attempt, Outcome.FAILED)
            return
        link = Link(sock)
        self._links[sock.fileno()] = link
        # Edge-triggered: no event is given again, so that none has to be turned off.
        self._poll.register(sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        self._start_on(link, attempt)

    def _start_on(self, link: Link, attempt: Attempt) -> None:
        link.attempt, link.sent = attempt, False
        link.data.clear()
        heappush(self._sent, (attempt.at_s + self._job.patience_s, next(self._numbers), attempt, link))
        self._write(link)

    def _write(self, link: Link) -> None:
        """Send the request, if the connection is there: on this machine it nearly always is at once."""
        assert link.attempt is not None
        request = self._requests[link.attempt.path]
        try:
            link.sent = link.sock.send(request) == len(request)
        except BlockingIOError:
            return
        except OSError:
            self._lose(link)

    def _on_event(self, descriptor: int) -> None:
        link = self._links.get(descriptor)
        if link is None:
            return  # closed by an event before this one
        if link.attempt is not None and not link.sent:
            self._write(link)
        try:
            while descriptor in self._links and (data := link.sock.recv(65536)):
                link.data += data
                if link.attempt is not None and (answer := parse(link.data)):
                    self._on_answer(link, link.attempt, answer)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            pass
        if self._links.get(descriptor) is link:
            self._lose(link)

    def _on_answer(self, link: Link, attempt: Attempt, answer: Answer) -> None:
        link.attempt = None
        if answer.keeps and not self._job.fresh:
            link.reused = True
            self._idle[link.sock.fileno()] = link
        else:
            self._close(link)
        if self._now() - attempt.at_s > self._job.patience_s:
            self._end(attempt, Outcome.LATE)
        else:
            outcomes = {200: Outcome.IN_TIME, 503: Outcome.REFUSED}
            self._end(attempt, outcomes.get(answer.status, Outcome.FAILED))

    def _lose(self, link: Link) -> None:
        """The server has closed the connection. A client sends again what met the end of an idle one."""
        attempt, link.attempt = link.attempt, None
        self._close(link)
        if attempt is None:
            return
        if link.reused and not link.data:
            self._connect(attempt)
        else:
            self._end(attempt, Outcome.FAILED)

    def _give_up(self) -> None:
        """End those who have waited for long enough."""
        while self._sent and (
            self._sent[0][2] is not self._sent[0][3].attempt or self._sent[0][0] <= self._now()
        ):
            _, _, attempt, link = heappop(self._sent)
            if link.attempt is attempt:
                link.attempt = None
                self._close(link)
                self._end(attempt, Outcome.LATE)

    def _close(self, link: Link) -> None:
        descriptor = link.sock.fileno()
        del self._links[descriptor]
        self._idle.pop(descriptor, None)
        link.sock.close()

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        attempt.took_s = self._now() - attempt.at_s
        attempt.outcome = outcome
        self._waiting -= 1
        self._done.append(attempt)
        if outcome is not Outcome.IN_TIME and attempt.retry < self._job.retries:
            self._send(Attempt(self._now(), attempt.path, attempt.retry + 1))


def _request(path: str, *, fresh: bool) -> bytes:
    close = "Connection: close\r\n" if fresh else ""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{close}\r\n".encode()


def run(job: Job, cpu: int) -> list[Attempt]:
    """Play a job in a process of its own on one processor. LoadError if that fails, or was late."""
    with pinned({cpu}):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.openloop"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    lasts_s = job.schedule[-1][0] + job.patience_s * (1 + job.retries)
    try:
        output, complaint = process.communicate(json.dumps(asdict(job)), timeout=lasts_s + GRACE_S)
    except subprocess.TimeoutExpired:
        raise LoadError(
            f"the load generator was still running {GRACE_S} s after it should have ended"
        ) from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise LoadError((complaint.strip().splitlines() or ["the load generator failed"])[-1])
    attempts = [
        Attempt(at_s, path, retry, late_s, took_s, Outcome(outcome))
        for at_s, path, retry, late_s, took_s, outcome in json.loads(output)
    ]
    check_lateness(attempts)
    return attempts


def check_lateness(attempts: Iterable[Attempt]) -> float:
    """How late the 99th percentile of the schedule was sent, in seconds. LoadError if too late."""
    late_s = percentile([attempt.late_s for attempt in attempts if not attempt.retry], 0.99)
    if late_s > LATE_S:
        raise LoadError(
            f"the load generator was late: p99 {late_s * 1000:.0f} ms, at most {LATE_S * 1000:.0f}"
        )
    return late_s


def percentile(values: Sequence[float], share: float) -> float:
    """The value that no more than 1 - `share` of the values exceed. At least one value."""
    return sorted(values)[math.ceil(len(values) * share) - 1]


def main() -> None:
    """Play the job on stdin, and print the requests."""
    given: dict[str, Any] = json.load(sys.stdin)
    given["paths"], given["schedule"] = tuple(given["paths"]), tuple(map(tuple, given["schedule"]))
    gc.disable()
    attempts = Player(Job(**given)).play()
    rows = (
        [a.at_s, a.path, a.retry, a.late_s, a.took_s, a.outcome.value if a.outcome else ""] for a in attempts
    )
    json.dump(list(rows), sys.stdout)


if __name__ == "__main__":
    main()
