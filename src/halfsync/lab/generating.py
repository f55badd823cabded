"""The load generator's process: how it is started, and what its figures say.

`run` starts `python -m halfsync.lab.generating`, pinned to a processor if one is given. The load goes to its standard
input and what became of it comes from its standard output, both as JSON. In that process nothing but `generator` runs;
the histograms are made here.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from halfsync.lab.errors import MeasureError
from halfsync.lab.generator import FAILURE_NAMES, Generator
from halfsync.lab.kernel import pinned
from halfsync.lab.load import OWN, Latencies, Load, Outcome

LATE_S = 0.005
"""How late the 99th percentile of the requests may be sent before the generator counts as the limit."""
BUSY = 0.95
"""The share of a processor from which on it does."""
END = signal.SIGUSR1
"""Ends a load before its time."""
START_S = 15.0
"""How much longer than its load the process may live before it is killed."""
NS_PER_S = 1e9
HIGHEST_NS = 3600 * 10**9
DIGITS = 3
QUANTILES = ("50", "90", "99", "99.9")
OWN_LIMITS = frozenset(
    {errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM}
)
"""Errors of a socket that say something about the generator's machine, and nothing about the server."""


def run(load: Load, *, cpu: int | None = None) -> Outcome:
    """Send a load, wait for its end, and return what became of it. MeasureError if there is nothing to report."""
    with started(load, cpu=cpu) as generation:
        return generation.wait()


class Generation:
    """A load that is being sent. `pid` is the generator's process."""

    def __init__(self, load: Load, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._load = load
        self._process = process

    def end(self) -> Outcome:
        """End the load before its time, once its connections are open, and return what became of it until now.

        What is under way then had no answer in time. Raises MeasureError.
        """
        self._process.send_signal(END)
        return self.wait()

    def wait(self) -> Outcome:
        """Wait for the load's end and return what became of it. Raises MeasureError."""
        try:
            output, complaint = self._process.communicate(timeout=longest_s(self._load))
        except subprocess.TimeoutExpired:
            raise MeasureError(
                f"the load generator was still running {START_S:.0f} s after it should have ended"
            ) from None
        if self._process.returncode:
            last = (complaint.strip().splitlines() or ["it says nothing"])[-1]
            raise MeasureError(f"the load generator failed with status {self._process.returncode}: {last}")
        return outcome_of(json.loads(output))


@contextmanager
def started(load: Load, *, cpu: int | None = None) -> Iterator[Generation]:
    """Start a load, for a body that does something while it is sent. At the end of the body the generator ends."""
    with pinned(None if cpu is None else {cpu}):
        process = subprocess.Popen(
            [sys.executable, "-m", "halfsync.lab.generating"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        assert process.stdin is not None
        with process.stdin:
            json.dump(asdict(load), process.stdin)
        process.stdin = None  # so that communicate does not look at it again
        yield Generation(load, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def longest_s(load: Load) -> float:
    """Return how long the process of a load may live, in seconds."""
    after_s = load.grace_s if load.patience_s is None else load.patience_s
    return load.opening_s + load.warm_up_s + load.duration_s + load.cool_down_s + after_s + START_S


def outcome_of(found: Mapping[str, Any]) -> Outcome:
    """Return what the generator found as a record."""
    late_s = latencies_of(found["lateness"]).at.get("99", 0.0)
    elapsed_s = found["elapsed_ns"] / NS_PER_S
    busy = found["cpu_ns"] / found["elapsed_ns"]
    failed: dict[str, int] = {}
    for number, count in found["failed"].items():
        reason = reason_of(int(number))
        failed[reason] = failed.get(reason, 0) + count
    return Outcome(
        elapsed_s=elapsed_s,
        answered=found["answered"],
        refused=found["refused"],
        errors=found["errors"],
        left=found["left"],
        failed=failed,
        unsent=found["unsent"],
        received_bytes=found["received_bytes"],
        latencies=latencies_of(found["corrected"]),
        uncorrected=latencies_of(found["uncorrected"]),
        late_s=late_s,
        busy=busy,
        bottleneck=bottleneck_of(late_s, busy, failed),
        opened_s=found["opened_ns"] / NS_PER_S,
        open=found["open"],
        due=found["due"],
        unopened=found["unopened"],
        idle_closed=found["idle_closed"],
        came_again=found["came_again"],
        sent_again=found["sent_again"],
    )


def reason_of(number: int) -> str:
    """Return the words for a failure: one of the generator's, or an errno."""
    if number in FAILURE_NAMES:
        return FAILURE_NAMES[number]
    name = errno.errorcode.get(number, str(number))
    return f"{OWN if number in OWN_LIMITS else ''}{name}"


def latencies_of(recorded: Mapping[str, Any]) -> Latencies:
    """Return the latencies of a recorder: its count, mean and highest are exact, and its quantiles a histogram's."""
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415  # it takes 50 ms, which only a measurement needs

    counts: Iterable[tuple[int, int]] = recorded["counts"]
    histogram = HdrHistogram(1, HIGHEST_NS, DIGITS)
    for value_ns, count in counts:
        histogram.record_value(min(max(value_ns, 1), HIGHEST_NS), count)
    if not recorded["count"]:
        return Latencies(0, 0.0, 0.0)
    highest_ns = recorded["max_ns"]
    at = {
        name: min(histogram.get_value_at_percentile(float(name)), highest_ns) / NS_PER_S for name in QUANTILES
    }
    return Latencies(recorded["count"], recorded["mean_ns"] / NS_PER_S, highest_ns / NS_PER_S, at)


def bottleneck_of(late_s: float, busy: float, failed: Mapping[str, int]) -> str:
    """Say in words that the generator was the limit of what was measured; empty if it was not."""
    said = []
    if busy > BUSY:
        said.append(f"the load generator used {busy:.0%} of its processor")
    if late_s > LATE_S:
        said.append(f"the load generator was {late_s * 1000:.1f} ms late at the 99th percentile")
    own = {reason.removeprefix(OWN): count for reason, count in failed.items() if reason.startswith(OWN)}
    if own:
        named = ", ".join(f"{reason} {count} times" for reason, count in own.items())
        said.append(f"the load generator met limits of its own: {named}")
    return "; ".join(said)


def requests_of(load: Load) -> list[bytes]:
    """Return the text of the request for each path of a load."""
    method = "POST" if load.body_bytes else "GET"
    fields = f"Host: 127.0.0.1:{load.port}\r\n"
    if load.body_bytes:
        fields += f"Content-Type: application/octet-stream\r\nContent-Length: {load.body_bytes}\r\n"
    if load.fresh:
        fields += "Connection: close\r\n"
    body = b"x" * load.body_bytes
    return [f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode() + body for path, _ in load.paths]


def main() -> None:
    """Send the load on the standard input, and print what became of it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # the loop runs without Python, and has nothing to tidy up
    given = json.load(sys.stdin)
    given["paths"] = tuple((path, share) for path, share in given["paths"])
    load = Load(**given)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()
    generator = Generator(load, requests_of(load))
    signal.signal(END, lambda *_: generator.end())
    json.dump(generator.play(), sys.stdout)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # at once: the kernel tidies up faster than the interpreter
