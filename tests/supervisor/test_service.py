"""Messages to the service manager: they are valid in whatever order events happen (sd_notify(3), notify-reload)."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.errors import UsageError
from halfsync.host.notify import Notifier
from halfsync.runtime.originals import signal
from halfsync.settings import Settings
from halfsync.supervisor import dispatcher
from halfsync.supervisor import supervisor as module
from halfsync.supervisor.children import ProcessPhase
from halfsync.supervisor.fleet import FleetState
from halfsync.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from halfsync.supervisor.actions import Start
    from halfsync.supervisor.fleet import Fleet

BOOT_S = 60.0
SIGNALS = {
    "reload": signal.SIGHUP,
    "unreadable": signal.SIGHUP,
    "raises": signal.SIGHUP,
    "term": signal.SIGTERM,
    "int": signal.SIGINT,
    "more": signal.SIGTTIN,
    "fewer": signal.SIGTTOU,
}
QUIET = ("ready", "ready", "ready", "fail", "crash", "hang", "left", "end", "upgrade", "turn")


class ProcessTable:
    """Processes that are numbers: they become ready, fail and end when a test says so."""

    def __init__(self, fleet: Fleet, clock: Callable[[], float]) -> None:
        self.scoreboard = SimpleNamespace(shutting_down=False)
        self.finished = self.cut = self.lost = 0
        self.fds: list[int] = []
        self.has_full_channel = self.unreaped = False
        self.signalled: list[int] = []
        self.happens: list[Callable[[], None]] = []
        self._fleet = fleet
        self._clock = clock
        self._pid = 0
        self._plans: dict[int, Any] = {}

    def start(self, action: Start, plan: Any, _leave: object) -> None:
        self._pid += 1
        self._plans[self._pid] = plan
        self._fleet.started(self._pid, action, self._clock())

    def plan(self, pid: int) -> Any:
        return self._plans[pid]

    def replace_signalled(self) -> None: ...

    def listen(self) -> None:
        while self.happens:
            self.happens.pop(0)()

    def reap(self) -> Iterator[tuple[int, int]]:
        return iter(())

    def look_due(self) -> float:
        return float("inf")

    def look(self) -> None: ...

    def tell(self, pid: int, what: str) -> None: ...

    def tell_to_drain_alone(self, pid: int) -> None: ...

    def recall(self, pid: int) -> None: ...

    def kill(self, pid: int) -> None: ...

    def close(self) -> None: ...


class World:
    """A supervisor whose processes, signals, settings, clock and service manager are fakes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.told: list[str] = []
        self.wrong: list[str] = []
        self.number: signal.Signals | None = None
        self.event = ""
        for one in (module, dispatcher):
            patch.setattr(one, "monotonic", lambda: self.now)
        patch.setattr(module, "name_supervisor", lambda _: None)
        patch.setattr(module, "set_up", lambda *_: None)  # of the whole process
        patch.setattr(Notifier, "_send", lambda _, *lines: self.hear(lines))
        self.supervisor = Supervisor(
            lambda _: lambda *_: [],
            Settings.from_options(bind="127.0.0.1:0", workers=2, boot_timeout=BOOT_S, drain_delay="1s"),
            reread=self.reread,
            name="a test",
        )
        self.fleet = self.supervisor._fleet
        self.supervisor._processes.close()
        self.processes = ProcessTable(self.fleet, lambda: self.now)
        for holder in (self.supervisor, self.supervisor._accepting, self.supervisor._dispatcher):
            patch.setattr(holder, "_processes", self.processes)
        self.over = False

    def reread(self, before: Settings) -> Settings:
        if self.event == "unreadable":
            raise UsageError("no such setting")
        if self.event == "raises":
            raise RuntimeError("of the file system")
        return before

    def hear(self, lines: tuple[str, ...]) -> None:
        """Check a message against the rules. What is wrong is kept: the supervisor catches what is raised here."""
        first = lines[0].partition("=")[0] if lines else ""
        kinds = [line.partition("=")[0] for line in self.told]
        if first not in ("READY", "RELOADING", "STOPPING", "MAINPID"):
            return
        may = not {"STOPPING", "MAINPID"} & set(kinds)
        if first == "READY":
            may = may and kinds[-1:] in ([], ["RELOADING"]) and self.fleet.generations.is_settled
        elif first == "RELOADING":
            may = may and "READY" in kinds and lines[1].startswith("MONOTONIC_USEC=")
        if not may:
            self.wrong.append(f"{lines} after {self.told}")
        self.told.append(lines[0])

    def turn(self) -> None:
        if not self.over:
            signals = SimpleNamespace(wait=lambda *_: self.number, descriptors=(), __exit__=lambda *_: None)
            self.over = self.supervisor._turn(signals) is not None  # type: ignore[arg-type]
            self.number = None
        assert not self.wrong

    def do(self, event: str, which: int) -> None:
        """Let one thing happen."""

        def one(*phases: ProcessPhase) -> int:
            pids = [child.pid for child in self.fleet.of(*phases)]
            return pids[which % len(pids)] if pids else 0

        def upgrade() -> None:  # its passing to another program
            if self.fleet.state is FleetState.SERVING and self.fleet.generations.proven:
                self.fleet.retire(self.now)
                self.supervisor._notifier.main_process(7)

        self.event = event
        match event:
            case "hang":
                self.now = max((self.now, *(child.due for child in self.fleet.of(ProcessPhase.BOOTING))))
            case "upgrade":
                self.processes.happens.append(upgrade)
            case "ready":
                self.processes.happens.append(lambda: self.fleet.ready(one(ProcessPhase.BOOTING), self.now))
            case "fail":
                self.processes.happens.append(
                    lambda: self.fleet.ended(one(ProcessPhase.BOOTING), 3, self.now)
                )
            case "crash":
                self.processes.happens.append(
                    lambda: self.fleet.ended(one(ProcessPhase.READY), -11, self.now)
                )
            case "left":
                self.processes.happens.append(lambda: self.fleet.quiesced(one(ProcessPhase.HANDING_OFF)))
            case "end":
                gone = one(
                    ProcessPhase.HANDING_OFF, ProcessPhase.RECALLED, ProcessPhase.KILLED, ProcessPhase.ENDING
                )
                self.processes.happens.append(lambda: self.fleet.ended(gone, 0, self.now))
        self.number = SIGNALS.get(event)
        expects = (
            self.number == signal.SIGHUP and self.fleet.state is FleetState.SERVING and "READY=1" in self.told
        )
        before = self.told.count("RELOADING=1")
        self.turn()
        if expects:
            assert self.told.count("RELOADING=1") == before + 1, "the service manager waits for it"

    def rest(self) -> None:
        """Let all that is started become ready, and all that leave end."""
        for _ in range(300):
            for child in list(self.fleet.children.values()):
                if child.phase is ProcessPhase.BOOTING:
                    self.fleet.ready(child.pid, self.now)
                elif child.phase is not ProcessPhase.READY:
                    self.fleet.ended(child.pid, 0, self.now)
            self.turn()
            self.now = max(self.now, min(self.fleet.due(), self.now + 20))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from((*SIGNALS, *QUIET)), st.integers(0, 7)), max_size=40))
def test_messages_keep_the_order_of_the_protocol(events: list[tuple[str, int]]) -> None:
    logging.disable(logging.CRITICAL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            world = World(patch)
            try:
                for event, which in events:
                    world.do(event, which)
                world.rest()
                if world.fleet.state is FleetState.SERVING:
                    assert world.told[-1] == "READY=1", "it waits for the end of the reload"
                elif world.fleet.generations.proven:
                    assert world.told[-1:] in (["STOPPING=1"], ["MAINPID=7"])
            finally:
                world.supervisor._close()
                world.supervisor._start_directory.close()
    finally:
        logging.disable(logging.NOTSET)
