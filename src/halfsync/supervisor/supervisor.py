"""The supervisor: the process that was started, which forks those that serve, watches, replaces and reaps them.

It has one thread, owns the listening sockets for as long as the server lives, and, unless it preloads, never loads the
application. What is to be done is the state machine's to say (fleet.py); here it is done. Signals only wake it.
"""

from __future__ import annotations

import os
import random
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING

from halfsync.board import Board
from halfsync.errors import LoadError, StartError
from halfsync.foreground import Outcome, announcement, draining, farewell, say, say_sizes
from halfsync.forking import fork, freeze, unblock
from halfsync.log import logger, set_up
from halfsync.output import hold_standard_descriptors
from halfsync.signals import Signals
from halfsync.supervisor.channel import Channel
from halfsync.supervisor.fleet import (
    LOAD_FAILED,
    OWN_CODES,
    Course,
    Exit,
    Failed,
    Fleet,
    Kill,
    Phase,
    Recall,
    Say,
    Settled,
    Start,
    Tell,
)
from halfsync.supervisor.identity import find_identity, set_umask
from halfsync.supervisor.notify import Notifier
from halfsync.supervisor.pidfile import PidFile
from halfsync.supervisor.preloading import find_hindrances
from halfsync.supervisor.process import LEFT, RECALL, Birth, Plan, forget_signals, live
from halfsync.supervisor.sockets import Sockets
from halfsync.supervisor.starting import refuse_contradictions
from halfsync.supervisor.titles import name_supervisor
from halfsync.supervisor.upgrade import SERVES, Successor, inherit, start_successor
from halfsync.supervisor.weariness import draw_requests, is_limited, why_tired

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from halfsync.board import Seat
    from halfsync.listeners import Listener
    from halfsync.server import Application
    from halfsync.settings import Settings
    from halfsync.stream.handler import StreamFactory
    from halfsync.supervisor.development import Development
    from halfsync.supervisor.fleet import Action

LOOK_S = 0.25  # between two looks at what the processes have served, and how large they are
AGAIN_S = 0.05  # before another try to tell a process something that is too busy to listen
STRANGERS = 256  # reaped in one turn, at most: somebody else's children, if this is process 1
SEATS = 8192  # on the board; only those that were used cost memory


@dataclass(slots=True)
class Member:
    """What the supervisor keeps of a process, beside its part in the fleet."""

    channel: Channel
    seat: Seat
    plan: Plan
    most_requests: int  # 0: any number
    outcome: Outcome | None = None  # what it told as it ended


class SupervisorSignals(Signals):
    """What a supervisor understands beside what any server does."""

    NUMBERS = (*Signals.NUMBERS, signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)


class Supervisor:
    """Serves an application by several processes until it is told to end.

    load: returns the application, in the process that shall serve it; raises StartError. reread: returns the settings
    as they are now, for a reload; raises StartError. name: what the application is called in the start-up line.
    directory: where the command line was given, if not here. Raises StartError for what cannot be opened.
    """

    def __init__(
        self,
        load: Callable[[Settings], Application | StreamFactory],
        settings: Settings,
        *,
        reread: Callable[[], Settings],
        name: str,
        directory: str = "",
    ) -> None:
        refuse_contradictions(settings)
        self._identity = find_identity(settings)
        self._notifier = Notifier.from_environment()
        hold_standard_descriptors()
        say_sizes(settings)
        set_up(settings.log_level)
        set_umask(settings)
        name_supervisor(name)
        self._reread = reread
        self._load = load
        self._name = name
        self._directory = directory or os.getcwd()  # noqa: PTH109 - without pathlib
        self._legacy = inherit()
        self._sockets = Sockets(self._legacy.listeners if self._legacy is not None else None)
        self._successor: Successor | None = None
        self._pidfile: PidFile | None = None
        self._development: Development | None = None
        try:
            self._plans = {1: self._plan(settings)}
            self._pidfile = PidFile.of(settings)
            if self._pidfile is not None:
                self._pidfile.write()
            if settings.preload:
                self._preload(settings)
            self._sockets.drop_inherited()
        except BaseException:
            self._close()
            raise
        self._members: dict[int, Member] = {}
        self._board = Board(SEATS)
        if self._legacy is not None:
            self._handover = self._legacy.handover
        else:
            self._handover = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._fleet = Fleet(
            settings.workers or 1,
            boot_timeout=settings.boot_timeout,
            graceful_timeout=settings.graceful_timeout,
            drain_delay=settings.drain_delay,
            persists=settings.reload,
        )
        self._development = self._develop(settings) if settings.reload else None
        self._announced = False
        self._look_at = 0.0
        self._finished = self._cut = 0
        self._lost = 0  # connections of processes that died meanwhile
        self._unreaped = False  # there may be more of those who have ended
        self._random = random.Random()

    def _preload(self, settings: Settings) -> None:
        """Load the application once, for all processes, and tell what each of them will not have, or will share."""
        application = self._load(settings)
        self._load = lambda _: application
        self._plans[1] = replace(self._plans[1], load=self._load)
        for hindrance in find_hindrances([listener.socket.fileno() for listener in self._sockets]):
            logger().warning("preload: %s", hindrance)
        freeze()

    def _develop(self, settings: Settings) -> Development:
        """Prepare to watch what the application is made of, and where its settings are read from."""
        from halfsync.supervisor.development import Development  # noqa: PLC0415 - only development needs it

        names = ("halfsync.toml", "pyproject.toml", *filter(None, [settings.config]))
        files = [os.path.join(self._directory, name) for name in names]  # noqa: PTH118 - without pathlib
        return Development(os.getcwd(), files)  # noqa: PTH109

    def run(self) -> int | Birth:
        """Serve until told to end, and return the exit code; in a process that was forked, what it is born with."""
        signals = SupervisorSignals()
        signals.__enter__()  # not left in a forked process, which has its own
        while True:
            if self._development is not None:
                self._development.keep_watching(lambda: self._leave_all_behind(signals))
            now = monotonic()
            for action in self._fleet.decide(now):
                if isinstance(action, Start):
                    birth = self._start(action, signals)
                    if birth is not None:
                        return birth
                elif isinstance(action, Exit):
                    signals.__exit__(None, None, None)
                    return self._end(action.code)
                else:
                    self._do(action)
            self._forget()
            self._wait(signals)

    def _wait(self, signals: Signals) -> None:
        """Wait for a signal, a word of a process or the time for something, and tell the fleet."""
        beat = self._notifier.beat()
        due = min(self._fleet.due(), self._look_due(), float("inf") if beat is None else monotonic() + beat)
        if any(member.channel.is_full for member in self._members.values()):
            due = min(due, monotonic() + AGAIN_S)
        timeout = 0.0 if self._unreaped else None if due == float("inf") else max(0.0, due - monotonic())
        fds = [member.channel.fd for member in self._members.values() if not member.channel.lost]
        if self._successor is not None and not self._successor.channel.lost:
            fds.append(self._successor.channel.fd)
        if self._development is not None:
            fds += self._development.fds
        number = signals.wait(fds, timeout)
        if number is not None:
            self._obey(signal.Signals(number))
        for pid, member in list(self._members.items()):
            self._hear(pid, member)
            member.channel.go_on()
        if self._development is not None and (changed := self._development.changed()):
            self._renew(changed)
        if self._successor is not None and self._successor.channel.next() == SERVES:
            self._retire(self._successor)
        self._reap()
        if monotonic() >= self._look_at:
            self._look()

    # Signals.

    def _obey(self, number: signal.Signals) -> None:
        now = monotonic()
        if number == signal.SIGTERM:
            if self._fleet.course is Course.SERVING:
                say(draining(self._fleet.drain_delay, self._fleet.graceful_timeout))
            self._board.fading = True
            self._notifier.stopping()
            self._fleet.drain(now)
        elif number in (signal.SIGINT, signal.SIGQUIT):
            self._board.fading = True
            self._fleet.quit()
        elif number == signal.SIGHUP:
            self._reload()
        elif number == signal.SIGUSR1:
            for member in self._members.values():
                member.channel.tell("reopen")
        elif number == signal.SIGUSR2:
            self._upgrade()
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self._fleet.resize(1 if number == signal.SIGTTIN else -1)

    def _reload(self) -> None:
        """Read the settings again, and ask for processes that have them. What cannot be changes nothing."""
        before = self._plans[self._fleet.generation].settings
        if self._fleet.course is not Course.SERVING:
            logger().warning("there is no reload: the server is about to end")
            return
        try:
            plan = self._plan_again(before)
        except StartError as error:
            logger().error("the reload failed: %s; the old processes go on serving", error)
            return
        what = "settings" if before.preload else "code and settings"
        logger().info("reloading: each process is replaced by one with the %s of now", what)
        if before.preload:
            logger().warning("the code is what was preloaded: a restart loads it again")
        self._adopt(plan, before)
        self._plans[self._fleet.reload()] = plan

    def _plan_again(self, before: Settings) -> Plan:
        """Return what a generation with the settings of now shall serve. Raises StartError."""
        settings = self._reread()
        if not settings.workers:
            settings = replace(settings, workers=before.workers)  # the file says nothing of it any more
        return self._plan(replace(settings, reload=before.reload))

    def _adopt(self, plan: Plan, before: Settings) -> None:
        """Go by these settings from now on."""
        settings = plan.settings
        self._notifier.reloading()
        if settings.workers != before.workers:
            self._fleet.wanted = settings.workers or 1
        self._fleet.boot_timeout = settings.boot_timeout
        self._fleet.graceful_timeout = settings.graceful_timeout
        self._fleet.drain_delay = settings.drain_delay

    # Development.

    def _renew(self, changed: str) -> None:
        """Replace all processes now: what they have loaded has changed. What cannot be is shown."""
        if self._fleet.course is not Course.SERVING:
            return
        before = self._plans[self._fleet.generation]
        try:
            plan = self._plan_again(before.settings)
        except StartError as error:
            logger().error("the settings cannot be used: %s", error)
            plan = _unloadable(before, LoadError(error.problem, origin=error.origin, remedy=error.remedy))
        self._adopt(plan, before.settings)
        assert self._development is not None
        self._development.announce(
            changed, [child.pid for child in self._fleet.of(Phase.BOOTING, Phase.READY, Phase.RECALLED)]
        )
        self._plans[self._fleet.reload(at_once=True)] = plan

    def _show_failure(self, failed: Failed) -> None:
        """Let the next try show why this one failed. Where settings are wrong from the first, end."""
        if not self._fleet.proven and failed.code in OWN_CODES and failed.code != LOAD_FAILED:
            self._fleet.fail(failed.code)
            return
        plan = self._plans.get(self._fleet.proven, self._plans[failed.generation])
        problem = f"the process that was to load it {failed.how}"
        error = LoadError(problem, origin=self._name, remedy="the log shows what it printed")
        self._plans[failed.generation] = _unloadable(plan, error)

    def _upgrade(self) -> None:
        """Start this program again, with the same sockets, and go on until it serves."""
        if self._successor is not None or self._fleet.course is not Course.SERVING:
            logger().warning("the upgrade is not begun: another is under way, or the server is about to end")
            return
        if os.getpid() == 1:
            logger().error(
                "the upgrade is not begun: the system ends with process 1; start another one beside it"
            )
            return
        if self._pidfile is not None:
            self._pidfile.remove()
        try:
            self._successor = start_successor(
                self._sockets.listeners,
                self._handover,
                directory=self._directory,
                variables=self._notifier.variables,
            )
        except OSError as error:
            logger().error("the upgrade failed: %s", error.strerror)
            return
        logger().info("upgrading: process %d starts with the same sockets", self._successor.pid)

    def _retire(self, successor: Successor) -> None:
        """Leave to the new program, which serves."""
        logger().info("process %d serves: this one and its processes leave", successor.pid)
        self._notifier.main_process(successor.pid)
        self._sockets.disown()
        self._fleet.retire(monotonic())

    def _not_upgraded(self, code: int) -> None:
        """Note that the new program has ended before it served."""
        self._successor = None
        logger().error("the upgrade failed: the new program ended with %d; this one goes on serving", code)
        if self._pidfile is not None:
            try:
                self._pidfile.write()
            except StartError as error:
                logger().error("%s", error)

    def _plan(self, settings: Settings) -> Plan:
        """Return what a generation with these settings shall serve. Raises StartError."""
        return Plan(settings, *self._sockets.open(settings), self._load)

    def _forget(self) -> None:
        """Let go of plans that no process shall have any more, and of listeners that no plan names.

        Processes that are about to be replaced have copies of the listeners. Nobody else may: a newcomer would wait in
        the backlog of a socket on which nobody accepts. So it is, too, once all processes are about to end.
        """
        if self._fleet.course not in (Course.SERVING, Course.FADING):
            self._sockets.keep([])
            return
        needed = {self._fleet.generation, self._fleet.proven}
        self._plans = {number: plan for number, plan in self._plans.items() if number in needed}
        self._sockets.keep(plan.settings for plan in self._plans.values())

    # Processes.

    def _do(self, action: Action) -> None:
        match action:
            case Tell(pid, what):
                if what == "leave":
                    self._members[pid].seat.leave()
                    what = "drain" if self._is_last_somewhere(pid) else what
                elif what == "drain":
                    # What is in the queue is adopted still. More would be lost: each process is about to close its end.
                    with suppress(OSError):
                        self._handover[0].shutdown(socket.SHUT_RD)
                self._members[pid].channel.tell(what)
            case Recall(pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, RECALL)
            case Kill(pid, reason):
                if reason:
                    logger().error("process %d is killed: %s", pid, reason)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            case Say(level, text):
                getattr(logger(), level)(text)
                if level == "error" and self._announced:
                    self._notifier.ready(text)  # also the end of a reload that failed
            case Settled(generation):
                self._settle(generation)
            case Failed():
                self._show_failure(action)

    def _is_last_somewhere(self, pid: int) -> bool:
        """Tell whether nobody else accepts, or will, on a bind of a process: then its backlog would wait in vain."""
        if self._fleet.course is Course.DRAINING:
            return False  # the successor has them all
        binds = set(self._members[pid].plan.settings.bind)
        binds -= set(self._plans[self._fleet.generation].settings.bind)
        for child in self._fleet.of(Phase.READY):
            binds -= set(self._members[child.pid].plan.settings.bind)
        return bool(binds)

    def _settle(self, generation: int) -> None:
        what = "the reload is complete: " if generation > 1 else ""
        logger().info("%sall %d processes serve", what, self._fleet.wanted)
        self._notifier.ready(f"{self._fleet.wanted} processes serve")
        if self._legacy is not None:
            self._legacy.channel.tell(SERVES)
            self._legacy.channel.close()
            self._legacy = None

    def _announce(self, plan: Plan) -> None:
        self._announced = True
        say(announcement(plan.settings, plan.listeners, self._name, processes=self._fleet.wanted))

    def _start(self, start: Start, signals: Signals) -> Birth | None:
        """Fork a process. Returns in both: here None, there what it is born with."""
        plan = self._plans[start.generation]
        try:
            ours, theirs = Channel.pair()
        except OSError as error:
            self._fleet.not_started(error.strerror or str(error), monotonic())
            return None
        seat = self._board.seat(start.number - 1)
        seat.take()
        try:
            pid = fork()
        except OSError as error:
            ours.close()
            theirs.close()
            seat.clear()
            self._fleet.not_started(error.strerror or str(error), monotonic())
            return None
        if pid == 0:
            ours.close()
            self._leave_behind(signals, (*plan.listeners, *plan.admin))
            if self._development is not None:
                self._development.leave_behind()
            return Birth(
                self._name,
                self._identity,
                plan,
                start.number,
                start.generation,
                seat,
                theirs,
                self._handover,
                None if self._development is None else self._development.reports,
            )
        unblock()
        theirs.close()
        most = draw_requests(plan.settings, self._random)
        self._members[pid] = Member(ours, seat, plan, most)
        self._fleet.started(pid, start, monotonic())
        return None

    def _leave_all_behind(self, signals: Signals) -> None:
        """Close what is the supervisor's and the serving processes', in a process that serves nobody."""
        self._leave_behind(signals, ())
        for end in self._handover:
            end.close()

    def _leave_behind(self, signals: Signals, kept: Collection[Listener]) -> None:
        """Close what is the supervisor's, in a process that it has forked."""
        forget_signals()
        for descriptor in signals.descriptors:
            os.close(descriptor)
        for member in self._members.values():
            member.channel.close()
        for other in (self._legacy, self._successor):
            if other is not None:
                other.channel.close()
        for listener in self._sockets:
            if listener not in kept:
                listener.close()

    def _hear(self, pid: int, member: Member) -> None:
        """Take in what a process says."""
        while (word := member.channel.next()) is not None:
            what, *values = word.split()
            if what == "ready":
                self._fleet.ready(pid, monotonic())
                if not self._announced:
                    self._announce(member.plan)
            elif what == "told":
                self._fleet.tire(pid, "was told to end")
            elif what == "outcome":
                member.outcome = Outcome(*map(int, values))
            elif what == LEFT and self._development is not None:
                self._development.left(pid)

    def _reap(self) -> None:
        """Reap every process that has ended: ours by name, and whoever else is a child of this one silently."""
        for pid in list(self._members):
            with suppress(ChildProcessError):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    self._bury(pid, os.waitstatus_to_exitcode(status))
        self._unreaped = False
        for _ in range(STRANGERS):
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not ended:
                return
            code = os.waitstatus_to_exitcode(status)
            if ended in self._members:
                self._bury(ended, code)
            elif self._successor is not None and ended == self._successor.pid:
                self._not_upgraded(code)
            elif self._development is not None and self._development.reaped(ended, code):
                self._renew("what nobody watched for a moment may have")
        self._unreaped = True

    def _bury(self, pid: int, code: int) -> None:
        """Take note of the end of one of ours."""
        member = self._members[pid]
        self._hear(pid, member)
        del self._members[pid]
        member.channel.close()
        if self._fleet.course is not Course.SERVING:  # what the server was told to end with
            if member.outcome is not None:
                self._finished += member.outcome.finished
                self._cut += member.outcome.cut
            else:
                self._lost += member.seat.open
        member.seat.clear()
        if self._development is not None:
            self._development.ended(pid)
        self._fleet.ended(pid, code, monotonic())

    # What they have served, and how large they are.

    def _look_due(self) -> float:
        """Return when to look next; infinity where nothing would come of it."""
        return self._look_at if is_limited(plan.settings for plan in self._plans.values()) else float("inf")

    def _look(self) -> None:
        """Find the processes that shall be replaced."""
        now = monotonic()
        self._look_at = now + LOOK_S
        for child in self._fleet.of(Phase.READY):
            if child.tired:
                continue
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

    def _end(self, code: int) -> int:
        """Close what is open, and say what became of the requests."""
        self._close()
        self._board.close()
        for end in self._handover:
            end.close()
        if self._announced:
            say(farewell(Outcome(self._finished, self._cut), lost=self._lost))
        return code

    def _close(self) -> None:
        if self._development is not None:
            self._development.close()
        self._sockets.close()
        if self._pidfile is not None:
            self._pidfile.remove()


def _unloadable(plan: Plan, error: LoadError) -> Plan:
    """Return the same plan for an application that cannot be loaded, for this reason."""

    def load(_: Settings) -> Application:
        raise error

    return replace(plan, load=load)


def supervise(
    load: Callable[[Settings], Application | StreamFactory],
    settings: Settings,
    *,
    reread: Callable[[], Settings],
    name: str,
    directory: str = "",
) -> tuple[int, bool]:
    """Serve by several processes until told to end. Returns the exit code, and whether this is one of those.

    Takes and raises what `Supervisor` does.
    """
    outcome = Supervisor(load, settings, reread=reread, name=name, directory=directory).run()
    if isinstance(outcome, Birth):
        return live(outcome), True
    return outcome, False
