"""The serving processes of a supervisor: forks them, talks to them, finds those to recycle, and reaps them.

The fleet decides about each process (fleet.py). The process table passes its orders on, and tells the fleet what the
processes say, and how they end.
"""

from __future__ import annotations

import random
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfsync.announcements import Outcome
from halfsync.errors import LoadError, reason_of
from halfsync.host.hooks import CHILD_EXIT, PRE_FORK, Worker, call_hook
from halfsync.orders import DRAIN, handoff_order
from halfsync.runtime.forking import fork, restore
from halfsync.runtime.originals import monotonic, os, signal, socket
from halfsync.runtime.signals import RECALL
from halfsync.settings.lanes import lane_names
from halfsync.shared.scoreboard import Scoreboard
from halfsync.supervisor.channel import Channel
from halfsync.supervisor.children import ProcessPhase
from halfsync.supervisor.fleet import FleetState
from halfsync.supervisor.process import QUIESCED, READY, SIGTERM_CAME, STANDS_IN, SpawnContext
from halfsync.supervisor.recycling import draw_requests, is_limited, recycle_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from halfsync.shared.scoreboard import Slot
    from halfsync.supervisor.actions import Start
    from halfsync.supervisor.children import Child
    from halfsync.supervisor.development.child import Development
    from halfsync.supervisor.fleet import Fleet
    from halfsync.supervisor.process import Plan

LOOK_S = 0.25  # between two checks of what the processes have served, and how large they are
STRANGERS = 256  # most children of other programs reaped in one turn, if this is process 1
SCOREBOARD_SLOTS = 8192  # only slots that were used cost memory


@dataclass(slots=True)
class ProcessHandle:
    """What the supervisor keeps of a process, besides its record in the fleet."""

    channel: Channel
    slot: Slot
    plan: Plan
    most_requests: int  # 0: any number
    place: int
    generation: int
    outcome: Outcome | None = None  # what it reported as it ended
    unheard: str | None = None  # a word whose handling failed
    exit_told: bool = False  # child_exit was called


class ProcessTable:
    """The process handles by pid, the scoreboard, and the queue by which processes that leave hand connections off.

    name: of the application. serves: called with the plan of each process that becomes ready. step: makes a step of the
    supervisor's loop. Work for one process is its own step, so that an error in it does not stop work for the others.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        name: str,
        development: Development | None,
        serves: Callable[[Plan], None],
        step: Callable[[str], AbstractContextManager[object]],
    ) -> None:
        self.scoreboard = Scoreboard(SCOREBOARD_SLOTS)
        self.handoff_queue = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.finished = self.cut = 0  # requests, since the server was told to end
        self.lost = 0  # connections of processes that died since then
        self.unreaped = False  # more ended processes may wait to be reaped
        self.signalled: list[int] = []  # pids that have reported SIGTERM since `replace_signalled`
        self._handles: dict[int, ProcessHandle] = {}
        self._ended: dict[int, int] = {}  # exit codes of reaped processes, until they are noted
        self._fleet = fleet
        self._name = name
        self._development = development
        self._serves = serves
        self._step = step
        self._look_next = 0.0
        self._random = random.Random()

    @property
    def fds(self) -> list[int]:
        """Descriptors that become readable when a process says something, or has ended."""
        return [handle.channel.fd for handle in self._handles.values() if not handle.channel.lost]

    @property
    def has_full_channel(self) -> bool:
        """Whether a process is too busy to read its words, so that `listen` must try again."""
        return any(handle.channel.is_full for handle in self._handles.values())

    def plan(self, pid: int) -> Plan:
        """Return what a process serves."""
        return self._handles[pid].plan

    def start(self, start: Start, plan: Plan, close_in_fork: Callable[[], None]) -> SpawnContext | None:
        """Fork a process. Return None in the supervisor, and the context of the new process in that process.

        close_in_fork: called in the new process; closes what is the supervisor's. If the system cannot create a
        process, the fleet is told. If anything else is raised, no process is left behind.
        """
        if not self._call_pre_fork(start, plan):
            return None
        most_requests = draw_requests(plan.settings, self._random)
        with ExitStack() as undoing:
            try:
                ours, theirs = Channel.pair()
                undoing.callback(ours.close)
                undoing.callback(theirs.close)
                measured = bool(plan.settings.admin_bind)
                if measured:
                    self.scoreboard.measure(lane_names(plan.settings.lanes, plan.settings.client_share))
                slot = self.scoreboard.slot(start.number - 1, measured=measured)
                undoing.callback(slot.clear)
                slot.take()
                pid, mask = fork()
            except OSError as error:
                self._fleet.not_started(reason_of(error), monotonic())
                return None
            undoing.pop_all()
        if pid == 0:
            ours.close()
            close_in_fork()
            if self._development is not None:
                self._development.close_in_fork()
            return SpawnContext(
                self._name,
                plan,
                start.place,
                start.generation,
                slot,
                theirs,
                self.handoff_queue,
                None if self._development is None else self._development.reports,
            )
        try:
            restore(mask)
            self._handles[pid] = ProcessHandle(ours, slot, plan, most_requests, start.place, start.generation)
            theirs.close()
            self._fleet.started(pid, start, monotonic())
        except BaseException:
            self.kill(pid)  # else it would serve, unknown to the fleet
            raise
        return None

    def _call_pre_fork(self, start: Start, plan: Plan) -> bool:
        """Call pre_fork. False: it failed, so no process is started now; the fleet is told."""
        try:
            call_hook(PRE_FORK, plan.settings, Worker(start.place, 0, start.generation))
        except LoadError as error:
            self._fleet.not_started(str(error), monotonic())
            if not self._fleet.generations.proven and not self._fleet.persists:
                self._fleet.fail(error.exit_code)
            return False
        return True

    def close_in_fork(self) -> None:
        """Close the supervisor's ends of all channels, in a process that it has forked."""
        for handle in self._handles.values():
            handle.channel.close()

    # Orders.

    def tell(self, pid: int, what: str) -> None:
        """Send an order to a process."""
        if what == DRAIN:
            # What is in the queue is still adopted. More would be lost: each process is about to close its end.
            with suppress(OSError):
                self.handoff_queue[0].shutdown(socket.SHUT_RD)
        self._handles[pid].channel.tell(what)

    def order_handoff(self, pid: int, exclusive: Iterable[int]) -> None:
        """Order a process to leave. exclusive: positions of its listeners on which no other process accepts."""
        self._handles[pid].slot.stop_accepting()
        self._handles[pid].channel.tell(handoff_order(exclusive))

    def tell_all(self, what: str) -> None:
        """Send an order to every process."""
        for pid, handle in self._handles.items():
            with self._step(f"telling process {pid} to {what}"):
                handle.channel.tell(what)

    def recall(self, pid: int) -> None:
        """Recall a process that starts."""
        with suppress(ProcessLookupError):
            os.kill(pid, RECALL)

    def kill(self, pid: int) -> None:
        """Kill a process."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    # Words and exits.

    def listen(self) -> None:
        """Handle the processes' words, and send words for which there was no room before."""
        for pid, handle in list(self._handles.items()):
            with self._step(f"listening to process {pid}"):
                self._hear(pid, handle)
                handle.channel.go_on()

    def _hear(self, pid: int, handle: ProcessHandle) -> None:
        # A word whose handling fails is tried again once only, so that it does not hold up the next one.
        again, handle.unheard = handle.unheard, None
        while (word := again or handle.channel.next()) is not None:
            again, handle.unheard = None, None if again else word
            what, *values = word.split()
            if what == READY:
                if STANDS_IN in values:
                    self._fleet.stand_in(pid)
                self._fleet.ready(pid, monotonic())
                self._serves(handle.plan)
            elif what == SIGTERM_CAME:
                self.signalled.append(pid)
            elif what == "outcome":
                handle.outcome = Outcome(*map(int, values))
                self._note_quiesced(pid)
            elif what == QUIESCED:
                self._note_quiesced(pid)
            handle.unheard = None

    def replace_signalled(self) -> None:
        """Replace the processes that have reported SIGTERM.

        Call this when no signal waits here: a signal to the whole group may have reached the processes first.
        """
        told, self.signalled = self.signalled, []
        for pid in told:
            self._fleet.recycle(pid, "was told to end", "signal")

    def _note_quiesced(self, pid: int) -> None:
        """Note that a process takes no more new requests."""
        self._fleet.quiesced(pid)
        if self._development is not None:
            self._development.quiesced(pid)

    def reap(self) -> Iterator[tuple[int, int]]:
        """Reap every process that has ended: first our own by pid, then any other child of this process.

        Yields the pid of each of the others, and its exit code or minus its signal.
        """
        for pid in [pid for pid in self._handles if pid not in self._ended]:
            with suppress(ChildProcessError):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._ended[pid] = os.waitstatus_to_exitcode(status)
        self._note_exits()
        self.unreaped = False
        for _ in range(STRANGERS):
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not ended:
                return
            code = os.waitstatus_to_exitcode(status)
            if ended in self._handles:
                self._ended[ended] = code
                self._note_exits()
            else:
                yield ended, code
        self.unreaped = True

    def _note_exits(self) -> None:
        for pid, code in list(self._ended.items()):
            with self._step(f"taking note of the end of process {pid}"):
                self._on_exit(pid, code)

    def _on_exit(self, pid: int, code: int) -> None:
        """Note that a process has ended. If this fails it is done again, so the handle is deleted last."""
        handle = self._handles[pid]
        if not handle.exit_told:
            handle.exit_told = True
            call_hook(CHILD_EXIT, handle.plan.settings, Worker(handle.place, pid, handle.generation))
        self._hear(pid, handle)
        handle.channel.close()
        if self._development is not None:
            self._development.ended(pid)
        ending, connections = self._fleet.state is not FleetState.SERVING, handle.slot.open
        handle.slot.clear()
        self._fleet.ended(pid, code, monotonic())
        del self._handles[pid], self._ended[pid]
        if ending and handle.outcome is None:
            self.lost += connections
        elif ending and handle.outcome is not None:
            self.finished += handle.outcome.finished
            self.cut += handle.outcome.cut

    # Recycling.

    def look_due(self) -> float:
        """Return when to call `look` next; infinity: no process has a limit."""
        limited = is_limited(handle.plan.settings for handle in self._handles.values())
        return self._look_next if limited else float("inf")

    def look(self) -> None:
        """Recycle the processes that have reached a limit, if it is time to look."""
        now = monotonic()
        if now < self._look_next:
            return
        self._look_next = now + LOOK_S
        for child in self._fleet.of(ProcessPhase.READY):
            if not child.recycle_reason:
                with self._step(f"looking at process {child.pid}"):
                    self._look_at(child, now)

    def _look_at(self, child: Child, now: float) -> None:
        handle = self._handles[child.pid]
        why = recycle_reason(
            handle.plan.settings,
            handle.slot,
            child.pid,
            age=now - child.began,
            most_requests=handle.most_requests,
        )
        if why:
            self._fleet.recycle(child.pid, *why)

    def close(self) -> None:
        """Close the scoreboard and the queue, once no process is left."""
        self.scoreboard.close()
        for end in self.handoff_queue:
            end.close()
