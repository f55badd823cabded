"""The state machine of serving processes: which there are, which there should be, and what to do about it.

It makes no system call, and has no clock and no thread. The supervisor tells it what happened and when, asks it to
`decide`, and carries out the actions. Times are seconds of one monotonic clock.

It treats every cause for another process alike (a reload, a crash, a new number, a process to recycle for its requests,
its age or its memory): there must be `wanted` processes of the newest generation that are not to be recycled. A new
process is started beside an old one, and the old one is ordered to leave only when the new one is ready, one at a time.

Until a new generation counts (generations.py), a process that ends is replaced by one of the generation that counts, in
the number and with the times of that generation. If the first process of the new one cannot start, everything is as
before.

Every process that does not serve has a deadline for what it is doing. When that has passed, the process is killed,
which no application can prevent.

In development the order is reversed: after `reload(at_once=True)` the old processes leave first, and requests wait for
the new ones. A fleet that `persists` retries a generation that cannot start; it neither ends nor goes back to an older
generation because of it.
"""

from __future__ import annotations

import math
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING

from halfsync.orders import CLOSE_KEEPALIVES, DRAIN, HAND_OFF, QUIT
from halfsync.runtime.originals import signal
from halfsync.runtime.output import counted
from halfsync.supervisor.actions import Abandoned, Counts, Exit, Failed, Kill, Recall, Say, Settled, Tell
from halfsync.supervisor.backoff import Backoff
from halfsync.supervisor.children import KILL_AFTER_S, Child, FleetSettings, ProcessPhase, in_phases
from halfsync.supervisor.generations import Generations
from halfsync.supervisor.vacancies import find_missing, find_starts, held_places

if TYPE_CHECKING:
    from halfsync.supervisor.actions import Action, Start

STABLE_S = 1.0  # a process that dies sooner after it was ready counts as one that did not start
RECALL_S = 10.0  # in which a recalled process must end, or say that it serves
OWN_CODES = (2, 3, 4)  # of a failed start whose reason the process has reported (errors.py)
LOAD_FAILED = 3


class FleetState(Enum):
    """What the whole fleet is doing."""

    SERVING = "serving"
    DRAIN_DELAY = (
        "drain delay"  # load balancers should stop sending clients; those that come are still served
    )
    DRAINING = "draining"
    QUITTING = "quitting"
    OVER = "over"


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
        self.generations = Generations()
        self.children: dict[int, Child] = {}
        self.state = FleetState.SERVING
        self.fleet_settings = fleet_settings  # of the generation that counts
        self.persists = persists
        self._next = self.fleet_settings  # of the target generation
        self._resized = 0  # sum of the changes by `resize` since the last reload was asked for
        self._backoff = Backoff()
        self._not_before = -math.inf  # no process is started before this time
        self._until = math.inf  # when this state ends
        self._code = 0
        self._said: list[Action] = []
        # Processes that were replaced, or ended before their time, by cause (shared/metrics.pxd).
        self.restarts: Counter[str] = Counter()

    @property
    def _starts(self) -> bool:
        """Whether a missing process is started."""
        return self.state in (FleetState.SERVING, FleetState.DRAIN_DELAY)

    def of(self, *phases: ProcessPhase) -> list[Child]:
        """Return the processes in these phases, oldest first."""
        return in_phases(self.children.values(), *phases)

    # What happened.

    def started(self, pid: int, start: Start, now: float) -> None:
        """Note that a process was forked."""
        fleet_settings = self._next if start.generation == self.generations.target else self.fleet_settings
        due = now + fleet_settings.boot_timeout
        self.children[pid] = Child(start.number, start.place, pid, start.generation, now, fleet_settings, due)

    def not_started(self, reason: str, now: float) -> None:
        """Note that the system could not create a process."""
        self._fail(now)
        self._say("error", f"cannot start a serving process: {reason}")

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
                child.due = now + child.grace
        if child.phase is not ProcessPhase.BOOTING:
            return
        child.phase, child.due, child.ready_at = ProcessPhase.READY, math.inf, now
        if child.generation > self.generations.proven:
            self._count(child)
        if self.state is FleetState.DRAIN_DELAY:
            self._said.append(Tell(pid, CLOSE_KEEPALIVES))

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
        self.generations.proven, self.fleet_settings = child.generation, child.fleet_settings
        self._said.append(Counts(child.generation))

    def quiesced(self, pid: int) -> None:
        """Note that a process takes no more new requests."""
        if pid in self.children:
            self.children[pid].quiesced = True

    def recycle(self, pid: int, reason: str, cause: str) -> None:
        """Ask for a process to replace this one, which serves until that is ready. No effect if all are to end.

        reason: the end of a sentence. cause: as of `restarts`.
        """
        child = self.children.get(pid)
        serves = child is not None and child.phase is ProcessPhase.READY and self.state is FleetState.SERVING
        if child is not None and serves and not child.recycle_reason:
            child.recycle_reason, child.recycle_cause = reason, cause
            self._say("info", f"process {pid} {reason}: replacing it")

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
            self.restarts["crash"] += 1
            self._say("error", f"process {pid} {how}" + (": replacing it" if replaced else ""))
            self._died(now - child.ready_at, now)
        elif replaced and self.generations.is_needed(child):
            self._not_ready(child, f"{how} before it was ready", code, now)

    def _died(self, age: float, now: float) -> None:
        """Let another start at once, or after a pause if they die as soon as they serve. age: seconds of serving."""
        if age < STABLE_S:
            self._fail(now)
        else:
            self._reset_backoff()

    def _not_ready(self, child: Child, how: str, code: int, now: float) -> None:
        """Handle a process that will not serve: its generation cannot start, or cannot start now."""
        self.restarts["failed"] += 1
        generations = self.generations
        expected = child.generation <= generations.proven or self.state is FleetState.DRAIN_DELAY
        if expected or self.persists:
            pause = self._fail(now)
            self._say("error", f"process {child.pid} {how}; retrying in {pause:g} s")
            if not expected:
                self._said.append(Failed(child.generation, code, how))
        elif generations.target > generations.base:
            then = (
                "the old processes keep serving"
                if generations.proven
                else "retrying the previous code and settings"
            )
            self._go_back(f"the reload failed: process {child.pid} {how}; {then}")
        else:
            self._say("error", f"cannot serve: the first process {how}")
            self.fail(code if code in OWN_CODES else LOAD_FAILED)

    def _go_back(self, reason: str) -> None:
        """Give up a generation that never counted. Nothing of it was used."""
        self._next = self.fleet_settings
        self._say("error", reason)
        self._said.append(Abandoned(self.generations.go_back(), reason))

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
        self._reset_backoff()
        return self.generations.begin(at_once=at_once)

    def resize(self, by: int) -> None:
        """Ask for more processes or fewer, at least one. It also applies to a generation that does not count yet.

        Nothing changes once no more processes are started.
        """
        if not self._starts:
            self._say("warning", "the number of serving processes is unchanged: shutting down")
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
                    self._said.append(Tell(child.pid, CLOSE_KEEPALIVES))
        else:
            self.quit()

    def retire(self, now: float) -> None:
        """End, since other processes have the same sockets: all processes hand their connections off, and finish."""
        if self.state is FleetState.SERVING:
            self.state = FleetState.DRAINING
            self._end_all(HAND_OFF, now)

    def keep(self) -> None:
        """Let processes that hand off keep their connections and answer them: no process adopts them any longer."""
        if self.state is FleetState.DRAINING:
            self._said += [
                Tell(child.pid, DRAIN) for child in self.of(ProcessPhase.ENDING, ProcessPhase.RECALLED)
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
        if self._starts and find_missing(self.children.values(), self.generations, self.wanted):
            times.append(self._not_before)
        return min(times, default=math.inf)

    def decide(self, now: float) -> list[Action]:
        """Return the actions to do now. Each action is returned once."""
        if self.state is FleetState.DRAIN_DELAY and now >= self._until:
            self.state = FleetState.DRAINING
            self._end_all(DRAIN, now)
        if self.state is FleetState.QUITTING and self._until == -math.inf:
            self._until = math.inf
            self._end_all(QUIT, now)
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

    def _replace(self, now: float) -> None:
        """Start what is missing, and let what is replaced leave, one at a time."""
        for child in self.of(ProcessPhase.READY):
            if self.generations.is_outdated(child):
                self._replaced(child)
                self._hand_off(child, now)
        self._recall_unneeded(now)
        if now >= self._not_before:
            self._said += find_starts(self.children.values(), self.generations, self.wanted)
        self._hand_off_surplus(now)
        self._settle()

    def _recall_unneeded(self, now: float) -> None:
        deputies = self.wanted - len(self.of(ProcessPhase.READY))
        for child in self.of(ProcessPhase.BOOTING):
            if self.generations.is_deputy(child) and deputies > 0:
                deputies -= 1
            elif child.generation != self.generations.target:
                # Not killed: it may have adopted connections, and its word that it serves may be on the way.
                child.phase, child.due = ProcessPhase.RECALLED, min(child.due, now + RECALL_S)
                self._said.append(Recall(child.pid))

    def _hand_off_surplus(self, now: float) -> None:
        """Let processes beyond the wanted number leave.

        Those that must be replaced go first, preferably one whose place is taken; then the last places.
        """
        while len(ready := self.of(ProcessPhase.READY)) > self.wanted:
            old = [child for child in ready if not self.generations.is_good(child)]
            places = held_places(self.children.values(), self.generations.target)
            last = max(ready, key=lambda child: child.place)
            leaving = min(old, key=lambda child: child.place not in places) if old else last
            self._replaced(leaving)
            self._hand_off(leaving, now)

    def _replaced(self, child: Child) -> None:
        """Count a process that leaves while others serve."""
        outdated = child.generation != self.generations.target
        self.restarts[child.recycle_cause or ("reload" if outdated else "resize")] += 1

    def _settle(self) -> None:
        """Note once that the last reload is complete."""
        generations = self.generations
        ready, leaving = self.of(ProcessPhase.READY), self.of(ProcessPhase.HANDING_OFF, ProcessPhase.RECALLED)
        complete = len(ready) == self.wanted and all(map(generations.is_good, ready))
        if not generations.is_settled and complete and all(child.quiesced for child in leaving):
            generations.settled = generations.target
            self._said.append(Settled(generations.target))

    def _hand_off(self, child: Child, now: float) -> None:
        child.phase, child.due = ProcessPhase.HANDING_OFF, now + child.grace
        self._said.append(Tell(child.pid, HAND_OFF))

    def _end_all(self, how: str, now: float) -> None:
        for child in self.of(ProcessPhase.READY, ProcessPhase.HANDING_OFF, ProcessPhase.ENDING):
            due = now + (KILL_AFTER_S if how == QUIT else child.grace)
            child.phase, child.due = ProcessPhase.ENDING, due
            self._said.append(Tell(child.pid, how))
        for child in self.of(ProcessPhase.RECALLED):
            child.due = min(child.due, now + (KILL_AFTER_S if how == QUIT else RECALL_S))
            self._said.append(Tell(child.pid, how))
        for child in self.of(ProcessPhase.BOOTING):
            if how == QUIT:
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
                self.restarts["overdue"] += not again
                self._kill(child, "" if again else "it has not finished in time", now)

    def _kill(self, child: Child, reason: str, now: float) -> None:
        child.phase, child.due = ProcessPhase.KILLED, now + KILL_AFTER_S  # then it is killed again
        self._said.append(Kill(child.pid, reason))

    def _fail(self, now: float) -> float:
        """Let no process be started for a while, and return how many seconds that is."""
        pause = self._backoff.fail()
        self._not_before = now + pause
        return pause

    def _reset_backoff(self) -> None:
        self._backoff.reset()
        self._not_before = -math.inf

    def _say(self, level: str, text: str) -> None:
        self._said.append(Say(level, text))
