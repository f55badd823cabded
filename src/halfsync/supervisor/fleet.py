"""The state machine of serving processes: which there are, which there should be, and what to do about it.

No system call, no clock and no thread: the supervisor tells it what happened and when, asks it to `decide`, and carries
out what it says. Times are seconds of one monotonic clock.

Every cause for another process (a reload, one that is to be recycled for its requests, its age or its memory, a crash,
another number) is the same to it: there shall be `wanted` processes of the newest generation that are not to be
recycled. A new one is started beside the old, and only when it is ready an old one is told to leave, one at a time.

A generation **counts** when its first process is ready. Until then nothing of it is used: those who end are replaced by
processes of the generation that counts, in its number and with its times. If the first process cannot start, the fleet
goes back to the generation that counts, and all is as it was.

Every process that does not serve has a time by which it must have done what it does; then it is killed, which no
application can prevent.

Development turns that round: after `reload(at_once=True)` the old ones leave first, and requests wait for the new; and
a fleet that `persists` tries a generation that cannot start again, and neither ends for it nor goes back to an older.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from halfsync.runtime.originals import signal
from halfsync.runtime.output import counted

STABLE_S = 1.0  # a process that dies sooner after it was ready counts as one that did not start
PAUSE_FIRST_S = 0.1  # before the next start after a failure; doubled with each that follows
PAUSE_MOST_S = 15.0
FAILURES_MOST = 16  # counted; more would not make the pause longer
KILL_AFTER_S = 3.0  # what a process that was told to end has beyond the time it was told
RECALL_S = 10.0  # in which one that was recalled must end, or say that it serves
CROWD = 4  # times as many as are wanted: what there may be with those that leave, which may take long
OWN_CODES = (2, 3, 4)  # of a start that failed for a reason which the process has told (see errors.py)
LOAD_FAILED = 3


class ProcessPhase(Enum):
    """What a serving process is doing."""

    BOOTING = "starting"
    READY = "serving"
    HANDING_OFF = "handing off"  # it hands its idle connections off, and finishes what runs
    RECALLED = "recalled"  # it was told to go while it started, and may just have begun to serve
    ENDING = "ending"  # it was told to drain or to quit, as all are
    KILLED = "killed"


class FleetState(Enum):
    """What becomes of the whole."""

    SERVING = "serving"
    DRAIN_DELAY = (
        "drain delay"  # nobody shall send newcomers any more; who comes is served until the delay is over
    )
    DRAINING = "draining"
    QUITTING = "quitting"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What the settings of a generation say to the fleet. See the settings of these names; times are seconds."""

    workers: int
    boot_timeout: float
    graceful_timeout: float
    drain_delay: float


@dataclass(slots=True)
class Child:
    """A serving process, with the terms of its generation.

    number: from 1, its own among those that live. place: from 1 to the number that is wanted; its successor has the
    same, so that for a time there are two of that place.
    """

    number: int
    place: int
    pid: int
    generation: int
    began: float
    fleet_settings: FleetSettings
    due: float  # when it will have had time enough for what it does
    phase: ProcessPhase = ProcessPhase.BOOTING
    ready_at: float = math.inf
    recycle_reason: str = ""  # why it is to be replaced
    quiesced: bool = False  # it takes no new request any more
    stands_in: bool = False  # it serves the reason why the application cannot be loaded


@dataclass(frozen=True, slots=True)
class Start:
    """Fork a process; `started` or `not_started` is told what came of it. number and place: as of `Child`."""

    number: int
    place: int
    generation: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell a process: "leave", "fade", "drain" or "quit"."""

    pid: int
    what: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall a process that starts: one that still loads ends by it, one that already serves is told to leave."""

    pid: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a process, and log why."""

    pid: int
    reason: str


@dataclass(frozen=True, slots=True)
class Say:
    """Log a line: "info", "warning" or "error"."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The first process of this generation serves: its settings are used from now on."""

    generation: int


@dataclass(frozen=True, slots=True)
class Abandoned:
    """This generation cannot start, and never counted: all is as it was before. reason: a sentence about it."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """All processes that take new requests are of this generation now."""

    generation: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A process of this generation ended before it was ready, which is not yet proven; another will be started.

    code: its exit code, or minus the signal that killed it. how: the end of a sentence about it.
    """

    generation: int
    code: int
    how: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Nobody is left: end with this code."""

    code: int


Action = Start | Tell | Recall | Kill | Say | Counts | Abandoned | Settled | Failed | Exit


class Fleet:
    """The serving processes of one supervisor. wanted: how many shall serve.

    fleet_settings: of the first generation. persists: a generation that cannot start is tried again (`Failed`), until
    `reload` brings another.
    """

    def __init__(
        self,
        fleet_settings: FleetSettings,
        *,
        persists: bool = False,
    ) -> None:
        self.wanted = fleet_settings.workers
        self.generation = 1  # that all shall be of
        self.proven = 0  # the newest generation of which a process has been ready
        self.settled = 0  # the newest generation that was all there was
        self.children: dict[int, Child] = {}
        self.state = FleetState.SERVING
        self.failures = 0
        self.fleet_settings = fleet_settings  # of the one that counts
        self.persists = persists
        self._next = self.fleet_settings  # of `generation`
        self._resized = 0  # by how many since the last reload was asked for
        self._newest = 1  # the last generation that was asked for: numbers are not used again
        self._oldest = 1  # who is of an older generation leaves at once
        self._not_before = -math.inf  # no start before
        self._until = math.inf  # when this course ends
        self._code = 0
        self._said: list[Action] = []

    @property
    def base(self) -> int:
        """The generation that counts; before any does, the first."""
        return self.proven or 1

    @property
    def is_settled(self) -> bool:
        """Whether the last reload is over: it is complete, or there is none."""
        return self.settled >= self.generation

    @property
    def _starts(self) -> bool:
        """Whether a process is started if one is missing."""
        return self.state in (FleetState.SERVING, FleetState.DRAIN_DELAY)

    def of(self, *phases: ProcessPhase) -> list[Child]:
        """Return the processes in these phases, oldest first."""
        return [child for child in self.children.values() if child.phase in phases]

    # What happened.

    def started(self, pid: int, start: Start, now: float) -> None:
        """Note that a process was forked."""
        fleet_settings = self._next if start.generation == self.generation else self.fleet_settings
        due = now + fleet_settings.boot_timeout
        self.children[pid] = Child(start.number, start.place, pid, start.generation, now, fleet_settings, due)

    def not_started(self, reason: str, now: float) -> None:
        """Note that the system gave no process."""
        self._fail(now)
        self._say("error", f"no serving process could be started: {reason}")

    def ready(self, pid: int, now: float) -> None:
        """Note that a process serves."""
        child = self.children.get(pid)
        if child is None:
            return
        if child.phase is ProcessPhase.RECALLED and self._starts:
            self._hand_off(child, now)
        elif child.phase is ProcessPhase.RECALLED:  # it was told how to end
            child.phase = ProcessPhase.ENDING
            if self.state is FleetState.DRAINING:
                child.due = now + self._grace(child)
        if child.phase is not ProcessPhase.BOOTING:
            return
        child.phase, child.due, child.ready_at = ProcessPhase.READY, math.inf, now
        if child.generation > self.proven:
            self._count(child)
        if self.state is FleetState.DRAIN_DELAY:
            self._said.append(Tell(pid, "fade"))

    def stand_in(self, pid: int) -> None:
        """Note that a process is about to serve in the place of an application that cannot be loaded."""
        if pid in self.children:
            self.children[pid].stands_in = True

    def _count(self, child: Child) -> None:
        """Use the terms of a generation from now on: its first process is ready.

        Another number in the settings counts; the same number leaves what `resize` has made of it.
        """
        if child.fleet_settings.workers != self.fleet_settings.workers:
            self.wanted = max(1, child.fleet_settings.workers + self._resized)
        self.proven, self.fleet_settings = child.generation, child.fleet_settings
        self._said.append(Counts(child.generation))

    def quiesced(self, pid: int) -> None:
        """Note that a process takes no new request any more."""
        if pid in self.children:
            self.children[pid].quiesced = True

    def recycle(self, pid: int, reason: str) -> None:
        """Ask for another process in the place of this one, which serves until that is ready; not if all are to end."""
        child = self.children.get(pid)
        serves = child is not None and child.phase is ProcessPhase.READY and self.state is FleetState.SERVING
        if child is not None and serves and not child.recycle_reason:
            child.recycle_reason = reason
            self._say("info", f"process {pid} {reason}: another takes its place")

    def ended(self, pid: int, code: int, now: float) -> None:
        """Note that a process has ended. code: its exit code, or minus the signal that killed it."""
        child = self.children.pop(pid, None)
        if child is None:
            return
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        replaced = self._starts
        if child.phase in (ProcessPhase.KILLED, ProcessPhase.RECALLED):
            return
        if child.phase in (ProcessPhase.HANDING_OFF, ProcessPhase.ENDING):
            if code != 0:
                self._say("error", f"process {pid} {how} before it had finished")
        elif child.phase is ProcessPhase.READY:
            self._say("error", f"process {pid} {how}" + (": another takes its place" if replaced else ""))
            self._died(now - child.ready_at, now)
        elif replaced and self._is_needed(child):
            self._not_ready(child, f"{how} before it was ready", code, now)

    def _died(self, age: float, now: float) -> None:
        """Start another at once, or after a pause where they die as soon as they serve."""
        if age < STABLE_S:
            self._fail(now)
        else:
            self.failures, self._not_before = 0, -math.inf

    def _not_ready(self, child: Child, how: str, code: int, now: float) -> None:
        """Deal with a process that will not serve: what it stood for cannot be, or cannot be now."""
        expected = child.generation <= self.proven or self.state is FleetState.DRAIN_DELAY
        if expected or self.persists:
            self._fail(now)
            self._say("error", f"process {child.pid} {how}; the next try is in {self._pause():g} s")
            if not expected:
                self._said.append(Failed(child.generation, code, how))
        elif self.generation > self.base:
            then = (
                "the old ones go on serving" if self.proven else "what was to be served before is tried again"
            )
            self._go_back(f"the reload failed: process {child.pid} {how}; {then}")
        else:
            self._say("error", f"nothing can be served: the first process {how}")
            self.fail(code if code in OWN_CODES else LOAD_FAILED)

    def _go_back(self, reason: str) -> None:
        """Give up a generation that never counted. Nothing of it was used yet."""
        abandoned, self.generation = self.generation, self.base
        self._oldest = min(self._oldest, self.generation)
        self._next = self.fleet_settings
        self._say("error", reason)
        self._said.append(Abandoned(abandoned, reason))

    def fail(self, code: int) -> None:
        """End now, with this exit code: nothing can be served."""
        self._code = code
        self.state, self._until = FleetState.QUITTING, -math.inf

    # What somebody wants.

    def reload(self, fleet_settings: FleetSettings | None = None, *, at_once: bool = False) -> int:
        """Ask for new processes in the place of all, and return the number of their generation.

        fleet_settings: of that generation; None: as they are. at_once: those that there are leave before the new are
        ready, so that none serves what is old.
        """
        self._next, self._resized = fleet_settings or self.fleet_settings, 0
        self._newest += 1
        self.generation = self._newest
        if at_once:
            self._oldest = self.generation
        self._not_before = -math.inf
        self.failures = 0
        return self.generation

    def resize(self, by: int) -> None:
        """Ask for more processes, or fewer; one is the least. So it is in a generation that does not count yet, too.

        Nothing changes once no process is started any more.
        """
        if not self._starts:
            self._say("warning", "the number of serving processes stays as it is: the server is about to end")
            return
        before, self.wanted = self.wanted, max(1, self.wanted + by)
        self._resized += self.wanted - before
        self._say("info", f"{counted(self.wanted, 'serving process is', 'serving processes are')} wanted")

    def drain(self, now: float) -> None:
        """Begin to end: after `drain_delay` everything that was received is answered. A second time: now."""
        if self.state is FleetState.SERVING:
            self.state, self._until = FleetState.DRAIN_DELAY, now + self.fleet_settings.drain_delay
            if self.fleet_settings.drain_delay > 0:
                for child in self.of(ProcessPhase.READY, ProcessPhase.HANDING_OFF):
                    self._said.append(Tell(child.pid, "fade"))
        else:
            self.quit()

    def retire(self, now: float) -> None:
        """End in favour of other processes that have the same sockets: all hand off what they have, and finish."""
        if self.state is FleetState.SERVING:
            self.state = FleetState.DRAINING
            self._end_all("leave", now)

    def keep(self) -> None:
        """Let processes that hand off what they have keep it, and answer it: nobody takes it any more."""
        if self.state is FleetState.DRAINING:
            self._said += [
                Tell(child.pid, "drain") for child in self.of(ProcessPhase.ENDING, ProcessPhase.RECALLED)
            ]

    def quit(self) -> None:
        """End now."""
        if self.state not in (FleetState.QUITTING, FleetState.OVER):
            self.state, self._until = FleetState.QUITTING, -math.inf

    # What to do.

    def due(self) -> float:
        """Return when `decide` must be asked in any case; infinity: not before something happens."""
        times = [child.due for child in self.children.values()]
        if self.state in (FleetState.DRAIN_DELAY, FleetState.QUITTING):
            times.append(self._until)
        if self._starts and self._missing():
            times.append(self._not_before)
        return min(times, default=math.inf)

    def decide(self, now: float) -> list[Action]:
        """Return what is to be done now, each thing once."""
        if self.state is FleetState.DRAIN_DELAY and now >= self._until:
            self.state = FleetState.DRAINING
            self._end_all("drain", now)
        if self.state is FleetState.QUITTING and self._until == -math.inf:
            self._until = math.inf
            self._end_all("quit", now)
        # After those: what is started now would not be told of the end.
        if self._starts:
            self._replace(now)
        self._kill_overdue(now)
        if self.state in (FleetState.DRAINING, FleetState.QUITTING) and not self.children:
            self.state = FleetState.OVER
            self._said.append(Exit(self._code))
        said, self._said = self._said, []
        # What was to be told to a process that has ended since is told to nobody.
        return [one for one in said if not isinstance(one, Tell) or one.pid in self.children]

    def _missing(self) -> list[int]:
        """Return the generation of each process that is to be started, as soon as that may be."""
        ready = self.of(ProcessPhase.READY)
        booting = [child.generation for child in self.of(ProcessPhase.BOOTING)]
        ours, base = booting.count(self.generation), booting.count(self.base)
        if self.proven >= self.generation:
            lacking = self.wanted - ours - sum(map(self._is_good, ready))
            serving = len(ready) + ours
            beside = 1 if serving >= self.wanted and not ours else self.wanted - serving
            missing = [self.generation] * max(0, min(lacking, beside))
        else:  # the first one shows whether there can be others
            serving = len(ready) + (base if self._has_deputies else ours)
            deputies = max(0, self.wanted - serving) if self._has_deputies else 0
            missing = [self.base] * deputies + [self.generation] * (not ours)
        room = CROWD * self.wanted + 1 - len(self.children)
        return missing[: max(room, int(not serving))]  # one that is to serve may always start

    @property
    def _has_deputies(self) -> bool:
        """Whether processes of the generation that counts are started while there is a newer one."""
        return self._oldest <= self.proven < self.generation

    def _is_needed(self, child: Child) -> bool:
        """Tell whether a process that starts is one of those that shall serve."""
        return child.generation == self.generation or self._is_deputy(child)

    def _is_deputy(self, child: Child) -> bool:
        return self._has_deputies and child.generation == self.proven

    def _is_good(self, child: Child) -> bool:
        return child.generation == self.generation and not child.recycle_reason

    def _replace(self, now: float) -> None:
        for child in self.of(ProcessPhase.READY):
            if child.generation < self._oldest:
                self._hand_off(child, now)
        deputies = self.wanted - len(self.of(ProcessPhase.READY))
        for child in self.of(ProcessPhase.BOOTING):
            if self._is_deputy(child) and deputies > 0:
                deputies -= 1
            elif child.generation != self.generation:
                # Not killed: it may have taken connections over, and its word that it serves be on the way.
                child.phase, child.due = ProcessPhase.RECALLED, min(child.due, now + RECALL_S)
                self._said.append(Recall(child.pid))
        if now >= self._not_before:
            used = {child.number for child in self.children.values()}
            held: dict[int, set[int]] = {}
            for generation in self._missing():
                places = held.setdefault(generation, self._held(generation))
                self._said.append(Start(_take_free(used), _take_free(places), generation))
        while len(ready := self.of(ProcessPhase.READY)) > self.wanted:
            # Those that are to be replaced go first, of them those whose place is taken; then those in the last places.
            old = [child for child in ready if not self._is_good(child)]
            places = self._held(self.generation)
            last = max(ready, key=lambda child: child.place)
            self._hand_off(min(old, key=lambda child: child.place not in places) if old else last, now)
        leaving = self.of(ProcessPhase.HANDING_OFF, ProcessPhase.RECALLED)
        complete = len(ready) == self.wanted and all(map(self._is_good, ready))
        if self.settled < self.generation and complete and all(child.quiesced for child in leaving):
            self.settled = self.generation
            self._said.append(Settled(self.generation))

    def _held(self, generation: int) -> set[int]:
        """Return the places of a generation that are taken. One that is to be replaced leaves its place to another."""
        starting_or_serving = self.of(ProcessPhase.BOOTING, ProcessPhase.READY)
        return {
            child.place
            for child in starting_or_serving
            if child.generation == generation and not child.recycle_reason
        }

    def _hand_off(self, child: Child, now: float) -> None:
        child.phase, child.due = ProcessPhase.HANDING_OFF, now + self._grace(child)
        self._said.append(Tell(child.pid, "leave"))

    def _grace(self, child: Child) -> float:
        """Return for how many seconds a process may finish what it has received: it knows its own settings only."""
        return child.fleet_settings.graceful_timeout + KILL_AFTER_S

    def _end_all(self, how: str, now: float) -> None:
        for child in self.of(ProcessPhase.READY, ProcessPhase.HANDING_OFF, ProcessPhase.ENDING):
            due = now + (KILL_AFTER_S if how == "quit" else self._grace(child))
            child.phase, child.due = ProcessPhase.ENDING, due
            self._said.append(Tell(child.pid, how))
        for child in self.of(ProcessPhase.RECALLED):
            child.due = min(child.due, now + (KILL_AFTER_S if how == "quit" else RECALL_S))
            self._said.append(Tell(child.pid, how))
        for child in self.of(ProcessPhase.BOOTING):
            if how == "quit":
                self._kill(child, "", now)
            else:  # its word that it serves may be on the way
                child.phase, child.due = ProcessPhase.RECALLED, min(child.due, now + RECALL_S)
                self._said += [Recall(child.pid), Tell(child.pid, how)]

    def _kill_overdue(self, now: float) -> None:
        for child in list(self.children.values()):
            if child.due > now:
                continue
            if child.phase is ProcessPhase.BOOTING:
                self._kill(child, "it is not ready", now)
                # At once, and not when it is reaped: else another would be started that cannot become ready either.
                how = f"was not ready within {child.fleet_settings.boot_timeout:g} s"
                self._not_ready(child, how, -signal.SIGKILL, now)
            else:
                again = child.phase is ProcessPhase.KILLED
                self._kill(child, "" if again else "it has not finished in time", now)

    def _kill(self, child: Child, reason: str, now: float) -> None:
        child.phase, child.due = ProcessPhase.KILLED, now + KILL_AFTER_S  # and then once more
        self._said.append(Kill(child.pid, reason))

    def _fail(self, now: float) -> None:
        self.failures = min(self.failures + 1, FAILURES_MOST)
        self._not_before = now + self._pause()

    def _pause(self) -> float:
        return pause(self.failures)

    def _say(self, level: str, text: str) -> None:
        self._said.append(Say(level, text))


def _take_free(taken: set[int]) -> int:
    """Return the lowest number from 1 that is not taken, and take it."""
    number = next(number for number in range(1, len(taken) + 2) if number not in taken)
    taken.add(number)
    return number


def pause(failures: int) -> float:
    """Return how many seconds to wait after this many failures in a row."""
    return min(PAUSE_MOST_S, PAUSE_FIRST_S * 2.0 ** (failures - 1))
