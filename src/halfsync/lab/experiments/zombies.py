"""What becomes of a server that does not reap its children."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halfsync.lab import forking
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
from halfsync.lab.forking import REAP_ALL, REAP_IGNORE, REAP_NONE, REAP_ONE, Order
from halfsync.lab.judging import listed, not_measured, number, said
from halfsync.lab.kernel import pids_of, stat
from halfsync.lab.server import tethered
from halfsync.lab.sources import OWN_2026, TUTORIAL

if TYPE_CHECKING:
    from halfsync.lab.laboratory import Laboratory
    from halfsync.lab.samples import Samples

NEVER, ONCE, LOOPED = "not reaped", "one for each signal", "in a loop"
BURST = 20
REAPING = {
    NEVER: (REAP_NONE, BURST),
    "one for each signal, ends one by one": (REAP_ONE, 1),
    ONCE: (REAP_ONE, BURST),
    LOOPED: (REAP_ALL, BURST),
    "SIGCHLD ignored": (REAP_IGNORE, BURST),
}
"""The arms: how children are reaped, and how many end together."""
ROOM = 500
"""How many processes the server may have, so that the machine is safe."""
PLACES = (0.2, 0.5, 1.0, 2.0)
"""How many children are started, in units of the room."""
LONG_S = 60.0
END_S = 5.0
PR_SET_CHILD_SUBREAPER = 36
MOST = 0.5
"""The share of its children that a server leaves as zombies if it does not reap; typical is all of them."""
NONE = 0.02
"""And the share that is left by one that does; typical is none."""


class Zombies(Experiment):
    """Children that end in bursts, and three ways to reap them."""

    name = "zombies"
    title = "Children that nothing reaps"
    claim = "Children that are not reaped stay as zombies, and more and more of them exhaust the system."
    said_by = TUTORIAL
    method = (
        f"A small server of processes starts children, of which {BURST} end together while it is busy, and "
        "then handles SIGCHLD: not at all; by reaping one child for each signal; or by reaping in a loop "
        "until there is none. Signals that are pending do not queue. It is safe for the machine, since the "
        "server has a limit on processes of its own."
    )
    axis = Axis("children started or refused")
    plots = (
        Plot("Zombies left", "zombies", "zombies", ""),
        Plot("Children that could not be started", "refused", "refused: EAGAIN", ""),
        Plot("Memory of the kernel for zombies", "kernel_kb", "growth of the kernel's own memory", "KB"),
    )
    published = (Published("EAGAIN after 32,439 zombies; 11 KB of kernel memory for each", OWN_2026),)

    def plan(self, laboratory: Laboratory) -> Plan:
        """Return each way to reap, with as many children as make the room and twice that."""
        room = room_for(laboratory)
        who = "a user without other processes and RLIMIT_NPROC" if os.geteuid() == 0 else "RLIMIT_NPROC"
        notes = [f"the server may have {room} processes, by {who}"]
        if room < ROOM:
            notes.append(f"not {ROOM} processes, since the machine has too few left")
        return Plan(
            tuple(Cell(arm, float(int(place * room))) for place in PLACES for arm in REAPING),
            reference=Cell(NEVER, float(room)),
            primary="zombies",
            duration_s=0.0,
            notes=tuple(notes),
            found={"room": float(room)},
        )

    def measure(self, cell: Cell, plan: Plan, laboratory: Laboratory) -> Measured:
        """Start so many children, and count what is left of them."""
        reap, burst = REAPING[cell.arm]
        found = forked(Order(reap, int(cell.place), burst, int(plan.found["room"])))
        note = (
            ""
            if found["limited"]
            else "the server's own count limits its children, since no limit of the system can"
        )
        metrics = {name: float(found[name]) for name in ("started", "refused", "zombies", "limited")}
        metrics["kernel_kb"] = found["kernel_bytes"] / 1024
        metrics["child_us"] = found["elapsed_s"] * 1e6 / max(1, found["started"])
        if found["first_refused"] >= 0:
            metrics["first_refused"] = float(found["first_refused"])
        return Measured(metrics, note)

    def judge(self, samples: Samples) -> Verdict:
        """Compare what is left without reaping, and with it, after the most children."""
        places = [place for place in samples.places(NEVER) if samples.values(LOOPED, place, "zombies")]
        if not places:
            return not_measured("A server that does not reap, and one that does, were")
        most = max(places)
        never, looped, refused, started, limited = (
            samples.values(arm, most, name)
            for arm, name in (
                (NEVER, "zombies"),
                (LOOPED, "zombies"),
                (NEVER, "refused"),
                (NEVER, "started"),
                (NEVER, "limited"),
            )
        )
        stay = min(never) >= MOST * max(started) and max(looped) <= NONE * most
        exhaust = bool(refused and min(refused) > 0 and min(limited) > 0)
        outcome = Outcome.NOT_SEEN
        if stay:
            outcome = Outcome.HOLDS if exhaust else Outcome.WITHIN_A_LIMIT
        return Verdict(outcome, _sentence(samples, most, exhaust))


def _sentence(samples: Samples, most: float, exhaust: bool) -> str:
    parts = []
    for arm, how in (
        (NEVER, "without reaping"),
        (ONCE, "if each signal reaps one"),
        (LOOPED, "if reaped in a loop"),
    ):
        zombies = samples.figure(arm, most, "zombies")
        if zombies is not None:
            parts.append(f"{said(zombies)} {how}")
    text = f"Of {number(most)} children, {BURST} ending together, there stay as zombies {listed(parts)}."
    first, refused = (samples.figure(NEVER, most, name) for name in ("first_refused", "refused"))
    if exhaust and first is not None and refused is not None:
        text += (
            f" Without reaping no child could be started after {said(first)}: {said(refused)} were refused."
        )
    elif not exhaust:
        text += " No limit of the system was reached."
    return text


def room_for(laboratory: Laboratory) -> int:
    """Return how many processes the server may have: ROOM, or a part of what the machine has left."""
    most = laboratory.machine.limits.pids
    if most is None:
        return ROOM
    # The fourth field is how many threads run, and how many there are, in the whole system.
    there_are = int(Path("/proc/loadavg").read_text(encoding="utf-8").split()[3].partition("/")[2])
    return max(BURST, min(ROOM, (most - there_are) // 2))


def forked(order: Order) -> dict[str, Any]:
    """Run the server of processes, and return what it found. Whatever happens, none of its children is left."""
    with adopting_orphans():
        server = subprocess.Popen(
            [*tethered(sys.executable), "-I", forking.__file__, json.dumps(asdict(order))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = server.communicate(timeout=LONG_S)
        except subprocess.TimeoutExpired:
            raise MeasureError(f"the server of processes took more than {LONG_S:.0f} s") from None
        finally:
            _end(server)
    if server.returncode:
        raise MeasureError(f"the server of processes failed: {errors.strip()[-200:]}")
    found: dict[str, Any] = json.loads(output)
    return found


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Be the parent of what children leave behind, in this context: the init of a container may never reap it."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _end(server: subprocess.Popen[str]) -> None:
    """End a server that still runs, and reap what it leaves."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(END_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    for pid in _children_of_session(server.pid):
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    for pipe in (server.stdout, server.stderr):
        if pipe is not None:
            pipe.close()


def _children_of_session(session: int) -> list[int]:
    """Return this process's children that belong to a session."""
    own = str(os.getpid())
    return [pid for pid in pids_of(session) if (fields := stat(pid)) and fields[1] == own]
