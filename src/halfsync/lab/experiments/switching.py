"""What a switch between two threads costs, and one between two processes; and how often each model switches."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from halfsync.lab.errors import MeasureError
from halfsync.lab.experiment import (
    Axis,
    Cell,
    Experiment,
    Measured,
    Outcome,
    Plan,
    Plot,
    Published,
    Verdict,
)
from halfsync.lab.judging import exceeds, listed, not_measured, number, said
from halfsync.lab.load import Load
from halfsync.lab.loaded import ANY_PORT, loaded
from halfsync.lab.sources import OWN_2026, TUTORIAL

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Pair, Samples


@dataclass(frozen=True, slots=True)
class Sides:
    """The two sides of a ping-pong: threads or processes, on one processor or on two, with usual or huge pages."""

    processes: bool = False
    across: bool = False
    huge: bool = False


THREADS, PROCESSES = "threads, one processor", "processes, one processor"
TURNS = {
    THREADS: Sides(),
    PROCESSES: Sides(processes=True),
    "threads, one processor, huge pages": Sides(huge=True),
    "processes, one processor, huge pages": Sides(processes=True, huge=True),
    "threads, two processors": Sides(across=True),
    "processes, two processors": Sides(processes=True, across=True),
}
"""The arms in which two sides take turns, and what they are."""
ACROSS = ("threads, two processors", "processes, two processors")
SETS_KB = (0.0, 16.0, 64.0, 256.0, 1024.0, 4096.0)
HUGE_FROM_KB = 64.0
"""Smaller sets are in few pages anyway."""
REQUEST_SETS_KB = (0.0, 256.0, 4096.0)
"""The working sets at which the models answer requests that touch as much."""
CLIENTS = 8
"""So few that it costs little to fork for each, which counts too."""
DURATION_S = 0.6
WINDOW_S = 0.02
WINDOWS = 8
"""Of a ping-pong; the median of them counts, so that what interrupts one or two of them does not matter."""
LONG_S = 60.0
MUCH = 2.0
"""Switching processes costs much more if it takes so many times as long. Where the processor tags its TLB by process
(PCID), 1.0 to 1.3 is typical."""
SHOWS = 1.05
"""Whole turns must differ too. With a large set a switch is a small difference of large figures, and may be noise."""
PING_PONG = (
    "import json, sys; from halfsync.lab.pingpong import ping_pong; "
    "print(json.dumps(ping_pong(**json.loads(sys.argv[1]))))"
)


class Switching(Experiment):
    """Ping-pong between two threads and between two processes, over working sets of 0 to 4 MB."""

    name = "switching"
    title = "Switches between threads and between processes"
    claim = "Switching between threads of one process costs much less than switching between processes."
    said_by = TUTORIAL
    method = (
        "Two threads, or two processes, hand a byte to and fro through two pipes, natively. At its turn each "
        "writes a byte to each cache line of a working set of its own, of 0 to 4 MB. The same is done by one "
        "side alone, which writes to a pipe of its own and reads the byte back: a switch is what a turn takes "
        f"more than that of the CPU, by the clocks of both sides. Medians of {WINDOWS} windows of "
        f"{WINDOW_S * 1000:.0f} ms. Beside this, {CLIENTS} clients with keep-alive request of each model what "
        "touches as much memory in Python: voluntary switches and CPU for each request. Misses of the TLB are "
        "not counted, since that needs rights that the lab does without."
    )
    axis = Axis("working set", "KB", log=True)
    plots = (
        Plot("A switch: CPU of a turn less its work", "switch_us", "CPU of a switch, both sides", "µs"),
        Plot("A turn, with its work", "turn_cpu_us", "CPU of a turn, both sides", "µs", log=True),
        Plot("How long a turn takes", "turn_us", "time of a turn", "µs", log=True),
        Plot(
            "Switches for each request, by model", "switches", "voluntary switches per request", "", log=True
        ),
        Plot("CPU of a request, by model", "cpu_us", "CPU per request", "µs", log=True),
    )
    published = (
        Published(
            "1.2 µs between threads on one processor, 2.2 µs without pinning",
            "E. Bendersky, Measuring context switching and memory overheads for Linux threads, 2018",
        ),
        Published(
            "2.2 times as long between processes as between threads", "ddumbying, a measurement of switches"
        ),
        Published(
            "2.4 µs between threads, 2.4 µs between processes; 22 to 62 µs across processors", OWN_2026
        ),
    )

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return both sides on one processor and on two, and each model."""
        wanted = laboratory.wanted
        two = other_cpu(laboratory) is not None
        turning = [arm for arm in TURNS if two or arm not in ACROSS]
        cells = [
            Cell(arm, size)
            for size in SETS_KB
            for arm in turning
            if size >= HUGE_FROM_KB or not TURNS[arm].huge
        ]
        cells += [Cell(model, size) for size in REQUEST_SETS_KB for model in wanted.models]
        tags = "tags its TLB by process (PCID)" if has_pcid() else "does not tag its TLB by process (no PCID)"
        notes = [f"the processor {tags}"]
        if not two:
            notes.append("nothing was measured across processors: there is only one")
        return Plan(
            tuple(cells),
            reference=Cell(THREADS, 0.0),
            primary="switch_us",
            duration_s=DURATION_S,
            notes=tuple(notes),
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Let two sides take turns, or load a model."""
        if cell.arm in TURNS:
            return _turns(cell, laboratory)
        load = Load(ANY_PORT, CLIENTS, plan.duration_s, paths=((f"/touch/{cell.place:g}", 1.0),))
        found = loaded(laboratory, load, "--model", cell.arm)
        return Measured(
            {"switches": found.switches, "cpu_us": found.cpu_us, "rate": found.outcome.rate},
            found.outcome.bottleneck,
        )

    def judge(self, samples: Samples) -> Verdict:
        """Compare a switch of processes with one of threads on one processor, at each working set."""
        pairs = samples.pairs(THREADS, PROCESSES, "switch_us")
        if not pairs:
            return not_measured("Switches of threads and of processes on one processor were")
        noise = samples.noise("switch_us")
        dearer = [
            size
            for size, threads, processes in pairs
            if exceeds(processes, threads, MUCH, noise) and _shows_in_turns(samples, size)
        ]
        outcome = Outcome.WITHIN_A_LIMIT if dearer else Outcome.NOT_SEEN
        if len(dearer) == len(pairs):
            outcome = Outcome.HOLDS
        return Verdict(outcome, " ".join([_compared(pairs, dearer), *_across(samples), *_models(samples)]))


def _turns(cell: Cell, laboratory: Laboratory) -> Measured:
    """Run a ping-pong in a process of its own. It is small, and has no other threads."""
    what = TURNS[cell.arm]
    cpu, other = laboratory.machine.cpus[0], other_cpu(laboratory)
    arguments = {
        "processes": what.processes,
        "cpu": cpu,
        "other_cpu": other if what.across else cpu,
        "set_bytes": int(cell.place * 1024),
        "huge": what.huge,
        "windows": WINDOWS,
        "window_s": WINDOW_S,
    }
    done = subprocess.run(
        [sys.executable, "-c", PING_PONG, json.dumps(arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG_S,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise MeasureError(f"the ping-pong failed: {done.stderr.strip()[-200:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    turn_us, cpu_us, alone_us = (median(found[name]) / 1000 for name in ("turns_ns", "cpu_ns", "alone_ns"))
    return Measured(
        {
            "turn_us": turn_us,
            "alone_us": alone_us,
            "turn_cpu_us": cpu_us,
            "switch_us": cpu_us - alone_us,
            "switches_per_turn": (found["voluntary"] + found["involuntary"]) / found["turns"],
        }
    )


def other_cpu(laboratory: Laboratory) -> int | None:
    """Return the second processor of those that may be used, or None if there is one only."""
    cpus = laboratory.machine.cpus
    return cpus[1] if len(cpus) > 1 else None


def has_pcid() -> bool:
    """Return whether the processor's flags have PCID, or it is not one that names them so, which all tag their TLBs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    flags = next((line for line in text.splitlines() if line.startswith("flags")), None)
    return flags is None or "pcid" in flags.split()


def _shows_in_turns(samples: Samples, size: float) -> bool:
    """Return whether whole turns differ too."""
    threads, processes = (samples.figure(arm, size, "turn_cpu_us") for arm in (THREADS, PROCESSES))
    if threads is None or processes is None:
        return False
    return exceeds(processes, threads, SHOWS, samples.noise("turn_cpu_us"))


def _compared(pairs: list[Pair], dearer: list[float]) -> str:
    size, threads, processes = pairs[0]
    text = (
        f"On one processor a switch takes {said(threads, 'µs')} of CPU between threads and {said(processes, 'µs')} "
        f"between processes, with a working set of {number(size)} KB"
    )
    if len(pairs) > 1:
        size, threads, processes = pairs[-1]
        text += f"; {said(threads, 'µs')} and {said(processes, 'µs')} with {number(size)} KB"
    if 0 < len(dearer) < len(pairs):
        text += (
            f"; {number(MUCH)} times as much or more only with {listed([number(size) for size in dearer])} KB"
        )
    return text + "."


def _across(samples: Samples) -> list[str]:
    """Return how long it takes to hand over to another processor, most of which is no CPU but a wait."""
    pairs = samples.pairs(*ACROSS, "turn_us")
    if not pairs:
        return []
    _, threads, processes = pairs[0]
    waits = f"{said(threads, 'µs')} and {said(processes, 'µs')}"
    return [f"Across processors a turn takes {waits} of time."]


def _models(samples: Samples) -> list[str]:
    """Return how often each model switches for a request that touches the smallest set."""
    curves = {arm: samples.curve(arm, "switches") for arm in samples.arms()}
    parts = [f"{arm} {said(curve[0][1])}" for arm, curve in curves.items() if curve]
    return [f"Voluntary switches for each request: {listed(parts)}."] if parts else []
