"""What experiments are given: servers, loads, the machine, what the user wants, and the time that is left.

An experiment starts and reads nothing by itself: it asks the laboratory, which puts the server and the load generator
on processors of their own, so that all experiments measure in the same way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from halfsync.lab import generating, server

if TYPE_CHECKING:
    from halfsync.lab.generating import Generation
    from halfsync.lab.load import Load, Outcome
    from halfsync.lab.machine import Machine
    from halfsync.lab.server import ServerUnderTest

MODELS = ("process", "thread", "pool", "proactor")
APPLICATION = "halfsync.lab.applications:app"
NOWHERE = Path("/")
"""The working directory of servers of the lab's own applications: no file of settings is there."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks of the experiments. None: as each experiment has it.

    `application` is the user's own, as `halfsync serve` takes it, and `path` what is requested of it. `python` is a
    further interpreter, such as a free-threaded one, for the experiments that compare interpreters.
    """

    application: str | None = None
    path: str = "/"
    models: tuple[str, ...] = MODELS
    clients: tuple[int, ...] | None = None
    duration_s: float | None = None
    rounds: int | None = None
    python: str | None = None


class Laboratory:
    """Where experiments measure. Made by the command, used by its main thread."""

    def __init__(self, machine: Machine, wanted: Wanted, deadline: float) -> None:
        self.machine = machine
        self.wanted = wanted
        self.deadline = deadline
        """When the experiment that runs should have ended, on the monotonic clock."""
        self._cpus = machine.cpus_for()

    @property
    def application(self) -> str | None:
        """The user's own application, or None."""
        return self.wanted.application

    @property
    def left_s(self) -> float:
        """How much of the time for this experiment is left; 0 if none is."""
        return max(0.0, self.deadline - time.monotonic())

    def serving(
        self,
        *flags: str,
        target: str = APPLICATION,
        environment: Mapping[str, str] | None = None,
        python: str | None = None,
    ) -> AbstractContextManager[ServerUnderTest]:
        """Start a server, give it, and end it: `serving("--model", "pool", "--threads", "8")`.

        target: what it serves; `laboratory.application` for the user's own, which runs in the user's directory.
        Raises MeasureError if it does not start.
        """
        return server.serving(
            target,
            *flags,
            python=python or sys.executable,
            cpus=set(self._cpus.server),
            environment=environment,
            chdir=NOWHERE if target == APPLICATION else None,
        )

    def load(self, load: Load) -> Outcome:
        """Load a server, and return what became of it. Raises MeasureError."""
        return generating.run(load, cpu=self._cpus.generator)

    def loading(self, load: Load) -> AbstractContextManager[Generation]:
        """Start a load, to do other things while it runs; its `wait()` gives what became of it."""
        return generating.started(load, cpu=self._cpus.generator)
