"""Measuring one cell: a fresh server, a check that it answers rightly, a warm-up, the measurement."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench import client, goodput, load, openloop
from bench.cells import Cell, Idle
from bench.proc import Cpu, busy_s, session_cpu, session_memory
from bench.running import Running, StartError, free_port, running, without_folders
from bench.servers import APPS, Arm, Kit, Role
from bench.workloads import HELLO_BYTES, Kind, Workload
from halfsync.lab.kernel import settle

WARM_UP_S = 1
"""wrk takes whole seconds; one is enough for lazy imports, specialised bytecode and grown buffers."""
SETTLE_REQUESTS = 500
"""Requests on one connection before idle memory is counted: what they allocate once is not a connection's."""
HERD_S = 90
PRELOAD_REQUESTS = 10_000
NEW_REQUESTS = 50


class WrongAnswerError(Exception):
    """The server answered, and not what the workload expects."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every cell of a run shares."""

    kit: Kit
    server_cpu: int
    load_cpu: int
    seconds: float
    idle_limit: int
    burn_per_s: float | None = None
    """The capacity of the processor in requests that burn it, once it was measured."""

    def measure(self, arm: Arm, workload: Workload, number: int) -> Cell:
        """Measure one cell. Whatever goes wrong with the server becomes the cell's failure."""
        port = free_port()
        args = arm.command(self.kit, port, workload)
        log = self.kit.build / f"{arm.name}.log"
        try:
            with running(
                args, port, cpu=self.server_cpu, cwd=APPS, env=self.environment(arm), log=log
            ) as server:
                check(server, workload)
                return MEASURES[workload.kind](self, arm, server, workload, number)
        except (StartError, WrongAnswerError, load.LoadError, OSError, ValueError) as error:
            return Cell(arm.name, workload.name, number, failure=without_folders(str(error)))

    def burn_capacity(self, arm: Arm, workload: Workload) -> float:
        """Requests per second of a closed loop. Raises as `running` and `run_load` do."""
        port = free_port()
        args = arm.command(self.kit, port, workload)
        log = self.kit.build / "capacity.log"
        with running(args, port, cpu=self.server_cpu, cwd=APPS, env=self.environment(arm), log=log):
            self.run_load(port, workload, WARM_UP_S)
            result = self.run_load(port, workload, self.seconds)
        if result.errors or not result.requests:
            raise load.LoadError(f"{result.requests} answers and {result.errors} errors of the closed loop")
        return result.requests / result.seconds

    def environment(self, arm: Arm) -> dict[str, str]:
        """A small environment, so that no setting of the caller's shell reaches a server by accident."""
        kept = ["PATH", "HOME", "LANG", "TMPDIR"]
        if arm.role in (Role.OURS, Role.MODEL):
            kept.append("PYTHONPATH")  # names another build of halfsync; it would disturb the peers
        env = {name: os.environ[name] for name in kept if name in os.environ}
        return {**env, "BENCH_FILE": str(self.kit.file)}

    def load_command(self, port: int, workload: Workload, seconds: float) -> list[str]:
        """The wrk command for a workload."""
        url = f"http://{client.HOST}:{port}{workload.path}"
        return load.command(
            url, workload.connections, seconds, headers=workload.headers, body_bytes=workload.body_bytes
        )

    def run_load(self, port: int, workload: Workload, seconds: float) -> load.Load:
        """Run the load generator against a server."""
        return load.run(self.load_command(port, workload, seconds), self.load_cpu, seconds)


def check(server: Running, workload: Workload) -> None:
    """One request before any is counted: a server that is fast and wrong is wrong."""
    reply = client.ask_once(server.port, workload.path, b"x" * workload.body_bytes, workload.headers)
    if reply.status != 200 or len(reply.body) != workload.answer_bytes:
        raise WrongAnswerError(f"wrong answer: status {reply.status}, {len(reply.body)} bytes")


class Meter:
    """The CPU time of a server's processes from now on, and what else its processor does."""

    def __init__(self, bench: Bench, server: Running) -> None:
        self._cpu, self._session = bench.server_cpu, server.session
        self._used, self._busy_s = session_cpu(self._session), busy_s(self._cpu)
        self._started = time.monotonic()

    def read(self) -> tuple[Cpu, float]:
        """The CPU time used so far, and the share of the processor that others had."""
        used = session_cpu(self._session) - self._used
        wall_s = time.monotonic() - self._started
        return used, max(0.0, (busy_s(self._cpu) - self._busy_s - used.clock_s) / wall_s)


def under_load(bench: Bench, arm: Arm, server: Running, workload: Workload, number: int) -> Cell:
    """CPU and time of the server's processes over one load, the end of its connections included."""
    bench.run_load(server.port, workload, WARM_UP_S)
    settle(server.session)
    meter = Meter(bench, server)
    result = bench.run_load(server.port, workload, bench.seconds)
    settle(server.session)
    used, foreign = meter.read()
    return Cell(
        arm.name,
        workload.name,
        number,
        startup_ms=server.startup_ms,
        load=result,
        cpu=used,
        memory=session_memory(server.session),
        foreign=foreign,
    )


def climb(bench: Bench, arm: Arm, server: Running, workload: Workload, number: int) -> Cell:
    """Answers in time while the load climbs beyond the capacity and falls. No warm-up: the first level is one."""
    demand = workload.demand
    assert demand is not None
    times, per_s = goodput.stages(bench.seconds), goodput.capacity(demand, bench.burn_per_s)
    job = openloop.Job(
        server.port,
        tuple(route.path for route in demand.routes),
        goodput.schedule(demand, per_s, times, number),
        goodput.PATIENCE_S,
        fresh=demand.fresh,
        retries=demand.retries,
    )
    meter = Meter(bench, server)
    attempts = openloop.run(job, bench.load_cpu)
    used, foreign = meter.read()
    return Cell(
        arm.name,
        workload.name,
        number,
        startup_ms=server.startup_ms,
        cpu=used,
        memory=session_memory(server.session),
        goodput=goodput.curve(demand, per_s, times, attempts, openloop.check_lateness(attempts)),
        foreign=foreign,
    )


def idle(bench: Bench, arm: Arm, server: Running, workload: Workload, number: int) -> Cell:
    """Memory that idle connections cost, and the time of new requests beside them."""
    with client.connect(server.port) as sock:
        for _ in range(SETTLE_REQUESTS):
            client.ask(sock, workload.path)
    settle(server.session)
    before = session_memory(server.session)
    asked = min(arm.idle, bench.idle_limit)
    with client.Herd(server.port) as herd:
        stopped = herd.grow(asked, time.monotonic() + HERD_S)
        counted = herd.held()
        after = session_memory(server.session)
        times = [_answer_ms(server.port, workload.path) for _ in range(NEW_REQUESTS)]
        held = herd.held()
    return Cell(
        arm.name,
        workload.name,
        number,
        startup_ms=server.startup_ms,
        memory=after,
        idle=Idle(
            asked,
            counted,
            held,
            (after.anon_kb - before.anon_kb) * 1024,
            statistics.median(times),
            max(times),
            stopped,
        ),
    )


def _answer_ms(port: int, path: str) -> float:
    started = time.monotonic()
    reply = client.ask_once(port, path)
    if len(reply.body) != HELLO_BYTES:
        raise WrongAnswerError("wrong answer beside idle connections")
    return (time.monotonic() - started) * 1000


def start(bench: Bench, arm: Arm, server: Running, workload: Workload, number: int) -> Cell:
    """Start-up time, and memory after a short load. CPU is left out: hello-64 measures it better."""
    result = bench.run_load(server.port, workload, WARM_UP_S)
    settle(server.session)
    memory = session_memory(server.session)
    return Cell(arm.name, workload.name, number, startup_ms=server.startup_ms, load=result, memory=memory)


def preload(bench: Bench, arm: Arm, server: Running, workload: Workload, number: int) -> Cell:
    """Memory of all processes after so many requests, spread over connections that stay open."""
    with ExitStack() as stack:
        socks = [stack.enter_context(client.connect(server.port)) for _ in range(workload.connections)]
        for request in range(PRELOAD_REQUESTS):
            if len(client.ask(socks[request % len(socks)], workload.path).body) != workload.answer_bytes:
                raise WrongAnswerError("wrong answer after preloading")
    settle(server.session)
    memory = session_memory(server.session)
    return Cell(arm.name, workload.name, number, startup_ms=server.startup_ms, memory=memory)


Measure = Callable[[Bench, Arm, Running, Workload, int], Cell]
MEASURES: dict[Kind, Measure] = {
    Kind.LOAD: under_load,
    Kind.CLOSE: under_load,
    Kind.FILE: under_load,
    Kind.STATIC: under_load,
    Kind.IDLE: idle,
    Kind.START: start,
    Kind.PRELOAD: preload,
    Kind.GOODPUT: climb,
}
