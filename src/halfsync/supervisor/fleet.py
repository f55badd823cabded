"""The state machine of serving processes: which there are, which there should be, and what to do about it.

It makes no system call, and has no clock and no thread. The supervisor tells it what happened and when, asks it to
`decide`, and carries out the actions. Times are seconds of one monotonic clock.

It treats every cause for another process alike (a reload, a crash, a new number, a process to recycle for its requests,
its age or its memory): there must be `wanted` processes of the newest generation that are not to be recycled. A new
process is started beside an old one, and the old one is ordered to leave only when the new one is ready, one at a time.

A generation **counts** when its first process is ready. Until then nothing of it is used: a process that ends is
replaced by one of the generation that counts, in the number and with the times of that generation. If the first process
cannot start, the fleet goes back to the generation that counts, and everything is as before.

Every process that does not serve has a deadline for what it is doing. When that has passed, the process is killed,
which no application can prevent.

In development the order is reversed: after `reload(at_once=True)` the old processes leave first, and requests wait for
the new ones. A fleet that `persists` retries a generation that cannot start; it neither ends nor goes back to an older
generation because of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from halfsync.runtime.originals import signal
from halfsync.runtime.output import counted

STABLE_S = 1.0  # a process that dies sooner after it was ready counts as one that did not start
PAUSE_FIRST_S = 0.1  # before the next start after a failure; doubled with each further failure
PAUSE_MOST_S = 15.0
FAILURES_MOST = 16  # counted; more would not make the pause longer
KILL_AFTER_S = 3.0  # extra time for a process to end, beyond the time that it was given
RECALL_S = 10.0  # in which a recalled process must end, or say that it serves
CROWD = 4  # most processes for each one wanted, with those that leave, which may take long
OWN_CODES = (2, 3, 4)  # of a failed start whose reason the process has reported (errors.py)
LOAD_FAILED = 3


class ProcessPhase(Enum):
    """What a serving process is doing."""

    BOOTING = "starting"
    READY = "serving"
    HANDING_OFF = "handing off"  # it hands its idle connections off, and finishes what runs
    RECALLED = "recalled"  # it was ordered to end while it started, and may just have begun to serve
    ENDING = "ending"  # it ends together with all others
    KILLED = "killed"


class FleetState(Enum):
    """What the whole fleet is doing."""

    SERVING = "serving"
    DRAIN_DELAY = (
        "drain delay"  # load balancers should stop sending clients; those that come are still served
    )
    DRAINING = "draining"
    QUITTING = "quitting"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """The settings of a generation that the fleet needs, by the names of the settings. Times are seconds."""

    workers: int
    boot_timeout: float
    graceful_timeout: float
    drain_delay: float


@dataclass(slots=True)
class Child:
    """A serving process, with the settings of its generation.

    number: from 1, unique among living processes. place: from 1 to the wanted number. The process that replaces it has
    the same place, so that for a time two processes have that place.
    """

    number: int
    place: int
    pid: int
    generation: int
    began: float
    fleet_settings: FleetSettings
    due: float  # deadline for what it is doing
    phase: ProcessPhase = ProcessPhase.BOOTING
    ready_at: float = math.inf
    recycle_reason: str = ""  # why it must be replaced
    quiesced: bool = False  # it takes no more new requests
    stands_in: bool = False  # it serves the reason why the application cannot be loaded


@dataclass(frozen=True, slots=True)
class Start:
    """Fork a process, then call `started` or `not_started`. number and place: as of `Child`."""

    number: int
    place: int
    generation: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Send an order to a process: "hand_off", "close_keepalives", "drain" or "quit"."""

    pid: int
    what: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Recall a process that starts: one that still loads ends; one that already serves is ordered to leave."""

    pid: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a process, and log why. reason: "": nothing is logged."""

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
    """This generation cannot start, and never counted: everything is as before. reason: a sentence about it."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Settled:
    """All processes that take new requests now belong to this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A process of this generation, which does not count yet, ended before it was ready. Another will be started.

    code: its exit code, or minus the signal that killed it. how: the end of a sentence about it.
    """

    generation: int
    code: int
    how: str


@dataclass(frozen=True, slots=True)
class Exit:
    """No process is left: end with this exit code."""

    code: int


Action = Start | Tell | Recall | Kill | Say | Counts | Abandoned | Settled | Failed | Exit


class Fleet:
    """The serving processes of one supervisor. wanted: how many should serve.

    fleet_settings: of the first generation. persists: a generation that cannot start is tried again (`Failed`), until
    `reload` begins another.
    """

    def __init__(
        self,
        fleet_settings: FleetSettings,
        *,
        persists: bool = False,
    ) -> None:
        self.wanted = fleet_settings.workers
        self.generation = 1  # the one that all processes should belong to
        self.proven = 0  # the newest generation of which a process has been ready
        self.settled = 0  # the newest generation that has been complete
        self.children: dict[int, Child] = {}
        self.state = FleetState.SERVING
        self.failures = 0
        self.fleet_settings = fleet_settings  # of the generation that counts
        self.persists = persists
        self._next = self.fleet_settings  # of `generation`
        self._resized = 0  # sum of the changes by `resize` since the last reload was asked for
        self._newest = 1  # the last generation that was asked for: numbers are not reused
        self._oldest = 1  # processes of older generations leave at once
        self._not_before = -math.inf  # no process is started before this time
        self._until = math.inf  # when this state ends
        self._code = 0
        self._said: list[Action] = []

    @property
    def base(self) -> int:
        """The generation that counts; the first, if none counts yet."""
        return self.proven or 1

    @property
    def is_settled(self) -> bool:
        """Whether the last reload is over: it is complete, or there is none."""
        return self.settled >= self.generation

    @property
    def _starts(self) -> bool:
        """Whether a missing process is started."""
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
        """Note that the system could not create a process."""
        self._fail(now)
        self._say("error", f"no serving process could be started: {reason}")

    def ready(self, pid: int, now: float) -> None:
        """Note that a process serves."""
        child = self.children.get(pid)
        if child is None:
            return
        if child.phase is ProcessPhase.RECALLED and self._starts:
            self._hand_off(child, now)
        elif child.phase is ProcessPhase.RECALLED:  # it has got its order to end
            child.phase = ProcessPhase.ENDING
            if self.state is FleetState.DRAINING:
                child.due = now + self._grace(child)
        if child.phase is not ProcessPhase.BOOTING:
            return
        child.phase, child.due, child.ready_at = ProcessPhase.READY, math.inf, now
        if child.generation > self.proven:
            self._count(child)
        if self.state is FleetState.DRAIN_DELAY:
            self._said.append(Tell(pid, "close_keepalives"))

    def stand_in(self, pid: int) -> None:
        """Note that a process is about to serve in the place of an application that cannot be loaded."""
        if pid in self.children:
            self.children[pid].stands_in = True

    def _count(self, child: Child) -> None:
        """Use the settings of a generation from now on: its first process is ready.

        A changed number of workers applies, plus what `resize` has changed since the reload was asked for. If the
        number is unchanged, what `resize` has made of it stays.
        """
        if child.fleet_settings.workers != self.fleet_settings.workers:
            self.wanted = max(1, child.fleet_settings.workers + self._resized)
        self.proven, self.fleet_settings = child.generation, child.fleet_settings
        self._said.append(Counts(child.generation))

    def quiesced(self, pid: int) -> None:
        """Note that a process takes no more new requests."""
        if pid in self.children:
            self.children[pid].quiesced = True

    def recycle(self, pid: int, reason: str) -> None:
        """Ask for a process to replace this one, which serves until that is ready. No effect if all are to end."""
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
        """Let another start at once, or after a pause if they die as soon as they serve. age: seconds of serving."""
        if age < STABLE_S:
            self._fail(now)
        else:
            self.failures, self._not_before = 0, -math.inf

    def _not_ready(self, child: Child, how: str, code: int, now: float) -> None:
        """Handle a process that will not serve: its generation cannot start, or cannot start now."""
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
        """Give up a generation that never counted. Nothing of it was used."""
        abandoned, self.generation = self.generation, self.base
        self._oldest = min(self._oldest, self.generation)
        self._next = self.fleet_settings
        self._say("error", reason)
        self._said.append(Abandoned(abandoned, reason))

    def fail(self, code: int) -> None:
        """End now, with this exit code: nothing can be served."""
        self._code = code
        self.state, self._until = FleetState.QUITTING, -math.inf

    # What the supervisor asks for.

    def reload(self, fleet_settings: FleetSettings | None = None, *, at_once: bool = False) -> int:
        """Ask for new processes to replace all, and return the number of their generation.

        fleet_settings: of that generation; None: unchanged. at_once: the present processes leave before the new ones
        are ready, so that none serves old code.
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
        """Ask for more processes or fewer, at least one. It also applies to a generation that does not count yet.

        Nothing changes once no more processes are started.
        """
        if not self._starts:
            self._say("warning", "the number of serving processes stays as it is: the server is about to end")
            return
        before, self.wanted = self.wanted, max(1, self.wanted + by)
        self._resized += self.wanted - before
        self._say("info", f"{counted(self.wanted, 'serving process is', 'serving processes are')} wanted")

    def drain(self, now: float) -> None:
        """Begin to end: after `drain_delay`, answer everything that was received. The second call ends now."""
        if self.state is FleetState.SERVING:
            self.state, self._until = FleetState.DRAIN_DELAY, now + self.fleet_settings.drain_delay
            if self.fleet_settings.drain_delay > 0:
                for child in self.of(ProcessPhase.READY, ProcessPhase.HANDING_OFF):
                    self._said.append(Tell(child.pid, "close_keepalives"))
        else:
            self.quit()

    def retire(self, now: float) -> None:
        """End, since other processes have the same sockets: all processes hand their connections off, and finish."""
        if self.state is FleetState.SERVING:
            self.state = FleetState.DRAINING
            self._end_all("hand_off", now)

    def keep(self) -> None:
        """Let processes that hand off keep their connections and answer them: no process adopts them any longer."""
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
        """Return when `decide` must be called at the latest; infinity: not before something happens."""
        times = [child.due for child in self.children.values()]
        if self.state in (FleetState.DRAIN_DELAY, FleetState.QUITTING):
            times.append(self._until)
        if self._starts and self._missing():
            times.append(self._not_before)
        return min(times, default=math.inf)

    def decide(self, now: float) -> list[Action]:
        """Return the actions to do now. Each action is returned once."""
        if self.state is FleetState.DRAIN_DELAY and now >= self._until:
            self.state = FleetState.DRAINING
            self._end_all("drain", now)
        if self.state is FleetState.QUITTING and self._until == -math.inf:
            self._until = math.inf
            self._end_all("quit", now)
        # After those: a process that is started now would not get the order to end.
        if self._starts:
            self._replace(now)
        self._kill_overdue(now)
        if self.state in (FleetState.DRAINING, FleetState.QUITTING) and not self.children:
            self.state = FleetState.OVER
            self._said.append(Exit(self._code))
        said, self._said = self._said, []
        # Drop orders to processes that have ended since.
        return [one for one in said if not isinstance(one, Tell) or one.pid in self.children]

    def _missing(self) -> list[int]:
        """Return the generation of each process to start, as soon as a start is allowed."""
        ready = self.of(ProcessPhase.READY)
        booting = [child.generation for child in self.of(ProcessPhase.BOOTING)]
        ours, base = booting.count(self.generation), booting.count(self.base)
        if self.proven >= self.generation:
            lacking = self.wanted - ours - sum(map(self._is_good, ready))
            serving = len(ready) + ours
            beside = 1 if serving >= self.wanted and not ours else self.wanted - serving
            missing = [self.generation] * max(0, min(lacking, beside))
        else:  # the first process shows whether the generation can start
            serving = len(ready) + (base if self._has_deputies else ours)
            deputies = max(0, self.wanted - serving) if self._has_deputies else 0
            missing = [self.base] * deputies + [self.generation] * (not ours)
        room = CROWD * self.wanted + 1 - len(self.children)
        return missing[: max(room, int(not serving))]  # if none serves or will, one may always start

    @property
    def _has_deputies(self) -> bool:
        """Whether processes of the generation that counts are started while there is a newer one."""
        return self._oldest <= self.proven < self.generation

    def _is_needed(self, child: Child) -> bool:
        """Return whether a process that starts is one of those that should serve."""
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
                # Not killed: it may have adopted connections, and its word that it serves may be on the way.
                child.phase, child.due = ProcessPhase.RECALLED, min(child.due, now + RECALL_S)
                self._said.append(Recall(child.pid))
        if now >= self._not_before:
            used = {child.number for child in self.children.values()}
            held: dict[int, set[int]] = {}
            for generation in self._missing():
                places = held.setdefault(generation, self._held(generation))
                self._said.append(Start(_take_free(used), _take_free(places), generation))
        while len(ready := self.of(ProcessPhase.READY)) > self.wanted:
            # Processes that must be replaced go first, preferably one whose place is taken; then the last places.
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
        """Return the places of a generation that are taken. A process to be recycled leaves its place to another."""
        starting_or_serving = self.of(ProcessPhase.BOOTING, ProcessPhase.READY)
        return {
            child.place
            for child in starting_or_serving
            if child.generation == generation and not child.recycle_reason
        }

    def _hand_off(self, child: Child, now: float) -> None:
        child.phase, child.due = ProcessPhase.HANDING_OFF, now + self._grace(child)
        self._said.append(Tell(child.pid, "hand_off"))

    def _grace(self, child: Child) -> float:
        """Return how many seconds a process has to finish what it received. It knows only its own settings."""
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
            else:  # its word that it serves may already be on the way
                child.phase, child.due = ProcessPhase.RECALLED, min(child.due, now + RECALL_S)
                self._said += [Recall(child.pid), Tell(child.pid, how)]

    def _kill_overdue(self, now: float) -> None:
        for child in list(self.children.values()):
            if child.due > now:
                continue
            if child.phase is ProcessPhase.BOOTING:
                self._kill(child, "it is not ready", now)
                # Now, not when it is reaped: else another would be started, which cannot become ready either.
                how = f"was not ready within {child.fleet_settings.boot_timeout:g} s"
                self._not_ready(child, how, -signal.SIGKILL, now)
            else:
                again = child.phase is ProcessPhase.KILLED
                self._kill(child, "" if again else "it has not finished in time", now)

    def _kill(self, child: Child, reason: str, now: float) -> None:
        child.phase, child.due = ProcessPhase.KILLED, now + KILL_AFTER_S  # then it is killed again
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
