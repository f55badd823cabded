"""wrk, the load generator: one thread on a processor of its own, bounded in time, its counts read exactly."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from halfsync.lab.kernel import pinned

SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT_S = 10
"""How long wrk waits for one answer before it counts an error. A slow 100 MB response must not be one."""
GRACE_S = 20
"""How much longer than its load wrk may live before it is killed."""


class LoadError(Exception):
    """wrk did not run to its end or did not print its counts."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk counted in one run. Latencies in microseconds, of the requests that completed."""

    requests: int
    seconds: float
    bytes: int
    p50_us: int
    p99_us: int
    bad_status: int
    socket_errors: int

    @property
    def errors(self) -> int:
        """Answers that were not 2xx or 3xx, and connections that failed, closed early or timed out."""
        return self.bad_status + self.socket_errors


def parse(output: str) -> Load:
    """Read the line of counts that load.lua prints. LoadError if it is not there."""
    line = re.search(r"^counts (.*)$", output, re.MULTILINE)
    if line is None:
        raise LoadError("wrk printed no counts: " + (output.strip().splitlines() or ["(nothing)"])[-1])
    counts = {key: int(value) for key, value in re.findall(r"(\w+)=(-?\d+)", line[1])}
    return Load(
        requests=counts["requests"],
        seconds=counts["duration_us"] / 1e6,
        bytes=counts["bytes"],
        p50_us=counts["p50_us"],
        p99_us=counts["p99_us"],
        bad_status=counts["status"],
        socket_errors=counts["connect"] + counts["read"] + counts["write"] + counts["timeout"],
    )


def command(
    url: str, connections: int, seconds: float, headers: tuple[str, ...] = (), body_bytes: int = 0
) -> list[str]:
    """The wrk command for one load. wrk takes whole seconds only, so that shorter loads are rounded up."""
    duration = max(1, round(seconds))
    args = ["wrk", "-t1", f"-c{connections}", f"-d{duration}s", f"--timeout={TIMEOUT_S}s", "-s", str(SCRIPT)]
    for header in headers:
        args += ["-H", header]
    return [*args, url, *(["--", str(body_bytes)] if body_bytes else [])]


def run(args: list[str], cpu: int, seconds: float) -> Load:
    """Run wrk on one processor and return its counts. Killed, as a LoadError, if it outlives its time."""
    with pinned({cpu}):
        wrk = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = wrk.communicate(timeout=seconds + GRACE_S)
    except subprocess.TimeoutExpired:
        raise LoadError(f"wrk was still running {GRACE_S} s after its load should have ended") from None
    finally:
        if wrk.poll() is None:
            wrk.kill()
            wrk.wait()
    return parse(output)
