"""The serving processes that a supervisor has: forked, spoken to, watched for what makes them tired, and buried.

What shall become of each is the fleet's to say (fleet.py). Here it is told to them, and what they say, and how they
end, is told to the fleet.
"""

from __future__ import annotations

import random
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfsync.errors import reason_of
from halfsync.foreground import Outcome, leave_order
from halfsync.runtime.forking import fork, restore
from halfsync.runtime.originals import monotonic, os, signal, socket
from halfsync.runtime.signals import RECALL
from halfsync.shared.scoreboard import Board
from halfsync.supervisor.channel import Channel
from halfsync.supervisor.fleet import Course, Phase
from halfsync.supervisor.process import LEFT, READY, STANDS_IN, Birth
from halfsync.supervisor.recycling import draw_requests, is_limited, why_tired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from halfsync.shared.scoreboard import Seat
    from halfsync.supervisor.development.child import Development
    from halfsync.supervisor.fleet import Child, Fleet, Start
    from halfsync.supervisor.process import Plan

LOOK_S = 0.25  # between two looks at what the processes have served, and how large they are
STRANGERS = 256  # reaped in one turn, at most: somebody else's children, if this is process 1
SEATS = 8192  # on the board; only those that were used cost memory


@dataclass(slots=True)
class Member:
    """What there is of a process, beside its part in the fleet."""

    channel: Channel
    seat: Seat
    plan: Plan
    most_requests: int  # 0: any number
    outcome: Outcome | None = None  # what it told as it ended
    unheard: str | None = None  # a word that could not be handled


class Crew:
    """The members by their pid; their board; and the queue through which those that leave hand connections over.

    name: of the application.
    serves: called with the plan of each process that becomes ready. step: makes a step of the supervisor's loop. Work
    for one process is a step of its own, so that an error in it does not keep the loop from the others.
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
        self.board = Board(SEATS)
        self.handover = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.finished = self.cut = 0  # requests, since the server was told to end
        self.lost = 0  # connections of processes that died meanwhile
        self.unreaped = False  # there may be more of those who have ended
        self.told: list[int] = []  # who has said that a signal told it to end, since `replace_told`
        self._members: dict[int, Member] = {}
        self._ended: dict[
            int, int
        ] = {}  # exit codes of members that the system has forgotten, until they are buried
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
        return [member.channel.fd for member in self._members.values() if not member.channel.lost]

    @property
    def is_deaf(self) -> bool:
        """Whether one is too busy to listen, which `listen` must find out again."""
        return any(member.channel.is_full for member in self._members.values())

    def plan(self, pid: int) -> Plan:
        """Return what a process serves."""
        return self._members[pid].plan

    def start(self, start: Start, plan: Plan, leave_behind: Callable[[], None]) -> Birth | None:
        """Fork a process. Returns in both: here None, there what it is born with.

        leave_behind: called there, closes what is the supervisor's. If the system gives no process, the fleet is told.
        If anything else is raised, no process is left behind.
        """
        most_requests = draw_requests(plan.settings, self._random)
        with ExitStack() as undoing:
            try:
                ours, theirs = Channel.pair()
                undoing.callback(ours.close)
                undoing.callback(theirs.close)
                seat = self.board.seat(start.number - 1)
                undoing.callback(seat.clear)
                seat.take()
                pid, mask = fork()
            except OSError as error:
                self._fleet.not_started(reason_of(error), monotonic())
                return None
            undoing.pop_all()
        if pid == 0:
            ours.close()
            leave_behind()
            if self._development is not None:
                self._development.leave_behind()
            return Birth(
                self._name,
                plan,
                start.place,
                start.generation,
                seat,
                theirs,
                self.handover,
                None if self._development is None else self._development.reports,
            )
        try:
            restore(mask)
            self._members[pid] = Member(ours, seat, plan, most_requests)
            theirs.close()
            self._fleet.started(pid, start, monotonic())
        except BaseException:
            self.kill(pid)  # else it would serve, unknown to the fleet
            raise
        return None

    def leave_behind(self) -> None:
        """Close the supervisor's ends of all channels, in a process that it has forked."""
        for member in self._members.values():
            member.channel.close()

    # What they are told.

    def tell(self, pid: int, what: str) -> None:
        """Tell a process what it shall do."""
        if what == "drain":
            # What is in the queue is adopted still. More would be lost: each process is about to close its end.
            with suppress(OSError):
                self.handover[0].shutdown(socket.SHUT_RD)
        self._members[pid].channel.tell(what)

    def tell_to_leave(self, pid: int, alone: Iterable[int]) -> None:
        """Tell a process to leave. alone: positions of its listeners on which nobody else accepts."""
        self._members[pid].seat.leave()
        self._members[pid].channel.tell(leave_order(alone))

    def tell_all(self, what: str) -> None:
        """Tell every process what it shall do."""
        for pid, member in self._members.items():
            with self._step(f"telling process {pid} to {what}"):
                member.channel.tell(what)

    def recall(self, pid: int) -> None:
        """Recall a process that starts."""
        with suppress(ProcessLookupError):
            os.kill(pid, RECALL)

    def kill(self, pid: int) -> None:
        """Kill a process."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    # What becomes of them.

    def listen(self) -> None:
        """Take in what they say, and say what some could not be told before."""
        for pid, member in list(self._members.items()):
            with self._step(f"listening to process {pid}"):
                self._hear(pid, member)
                member.channel.go_on()

    def _hear(self, pid: int, member: Member) -> None:
        # A word that fails is tried again, but only once, so that it does not hold up the next one.
        again, member.unheard = member.unheard, None
        while (word := again or member.channel.next()) is not None:
            again, member.unheard = None, None if again else word
            what, *values = word.split()
            if what == READY:
                if STANDS_IN in values:
                    self._fleet.stand_in(pid)
                self._fleet.ready(pid, monotonic())
                self._serves(member.plan)
            elif what == "told":
                self.told.append(pid)
            elif what == "outcome":
                member.outcome = Outcome(*map(int, values))
                self._note_left(pid)
            elif what == LEFT:
                self._note_left(pid)
            member.unheard = None

    def replace_told(self) -> None:
        """Ask for others in the place of those that a signal has told to end.

        To be called when no signal waits here: one to the whole group may have reached them first.
        """
        told, self.told = self.told, []
        for pid in told:
            self._fleet.tire(pid, "was told to end")

    def _note_left(self, pid: int) -> None:
        """Take in that a process takes no new request any more."""
        self._fleet.left(pid)
        if self._development is not None:
            self._development.left(pid)

    def reap(self) -> Iterator[tuple[int, int]]:
        """Reap every process that has ended: ours by name, then whoever else is a child of this one.

        Yields the pid of each of those, and its exit code or minus its signal.
        """
        for pid in [pid for pid in self._members if pid not in self._ended]:
            with suppress(ChildProcessError):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._ended[pid] = os.waitstatus_to_exitcode(status)
        self._bury_all()
        self.unreaped = False
        for _ in range(STRANGERS):
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not ended:
                return
            code = os.waitstatus_to_exitcode(status)
            if ended in self._members:
                self._ended[ended] = code
                self._bury_all()
            else:
                yield ended, code
        self.unreaped = True

    def _bury_all(self) -> None:
        for pid, code in list(self._ended.items()):
            with self._step(f"taking note of the end of process {pid}"):
                self._bury(pid, code)

    def _bury(self, pid: int, code: int) -> None:
        """Take note of the end of a member. If this fails it is done again: so the member is deleted last."""
        member = self._members[pid]
        self._hear(pid, member)
        member.channel.close()
        if self._development is not None:
            self._development.ended(pid)
        ending, connections = self._fleet.course is not Course.SERVING, member.seat.open
        member.seat.clear()
        self._fleet.ended(pid, code, monotonic())
        del self._members[pid], self._ended[pid]
        if ending and member.outcome is None:
            self.lost += connections
        elif ending and member.outcome is not None:
            self.finished += member.outcome.finished
            self.cut += member.outcome.cut

    # What they have served, and how large they are.

    def look_due(self) -> float:
        """Return when to look next; infinity where nothing would come of it."""
        limited = is_limited(member.plan.settings for member in self._members.values())
        return self._look_next if limited else float("inf")

    def look(self) -> None:
        """Find the processes that shall be replaced, if it is time to look."""
        now = monotonic()
        if now < self._look_next:
            return
        self._look_next = now + LOOK_S
        for child in self._fleet.of(Phase.READY):
            if not child.tired:
                with self._step(f"looking at process {child.pid}"):
                    self._look_at(child, now)

    def _look_at(self, child: Child, now: float) -> None:
        member = self._members[child.pid]
        why = why_tired(
            member.plan.settings,
            member.seat,
            child.pid,
            age=now - child.began,
            most_requests=member.most_requests,
        )
        if why:
            self._fleet.tire(child.pid, why)

    def close(self) -> None:
        """Close the board and the queue, once nobody is left."""
        self.board.close()
        for end in self.handover:
            end.close()
