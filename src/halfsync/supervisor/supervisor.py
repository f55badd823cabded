"""The supervisor: the process that was started. It forks the serving processes, watches, replaces and reaps them.

It has one thread, owns the listening sockets for as long as the server lives, and never loads the application unless it
preloads. The state machine decides what to do (fleet.py), and the dispatcher carries it out (dispatcher.py). Signals
only wake it.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from halfsync.announcements import Outcome, draining, farewell, say_sizes
from halfsync.host.directory import StartDirectory
from halfsync.host.handlers import contain_handlers
from halfsync.host.hooks import IN_SUPERVISOR, ON_STARTING, SupervisorInfo, call_hook, check_hooks
from halfsync.host.identity import find_identity, read_umask, set_umask
from halfsync.host.notify import Notifier
from halfsync.host.preflight import refuse_contradictions
from halfsync.host.preloading import find_hindrances
from halfsync.host.titles import name_supervisor
from halfsync.log import logger, set_up
from halfsync.native.system import readable
from halfsync.orders import REOPEN
from halfsync.runtime.forking import freeze, unblock
from halfsync.runtime.originals import monotonic, os, signal
from halfsync.runtime.signals import ENDING, SENT, drop_signals, forget_signals
from halfsync.runtime.standard import import_later
from halfsync.supervisor.accepting import Accepting
from halfsync.supervisor.actions import Exit, Start
from halfsync.supervisor.containment import Containment
from halfsync.supervisor.dispatcher import Dispatcher
from halfsync.supervisor.fleet import Fleet, FleetState
from halfsync.supervisor.inheritance import inherit
from halfsync.supervisor.milestones import Milestones
from halfsync.supervisor.plans import Plans, fleet_settings_of
from halfsync.supervisor.process import SpawnContext
from halfsync.supervisor.process_table import ProcessTable
from halfsync.supervisor.reloading import Reloads
from halfsync.supervisor.service import Service
from halfsync.supervisor.sockets import Sockets
from halfsync.supervisor.startup_signals import SupervisorSignals
from halfsync.supervisor.takeover import AGAIN_S, Takeover

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from halfsync.listening.listeners import Listener
    from halfsync.server import Application
    from halfsync.settings import Settings
    from halfsync.stream.handler import StreamFactory
    from halfsync.supervisor.development.child import Development

NOUNS = {signal.SIGHUP: "the reload", signal.SIGUSR2: "the upgrade"}  # what each of these signals asks for


class Supervisor:
    """Serves an application with several processes until it is told to end.

    load: called in the process that will serve the application; returns it; raises StartError. reread: returns the
    current settings for a reload; its argument is the settings that count so far; raises StartError. name: what the
    start-up line calls the application. enter: changes to the application's directory in these settings; raises
    StartError. start: the directory in which the command line was given, if it is another one. signals: those that come
    from now on; None: none come before `run`. Raises StartError for what cannot be opened, and KeyboardInterrupt if a
    signal ends it.

    Once it runs, only a signal or the fleet ends it. An error in a step of its loop does not (containment.py).
    """

    def __init__(
        self,
        load: Callable[[Settings], Application | StreamFactory],
        settings: Settings,
        *,
        reread: Callable[[Settings], Settings],
        name: str,
        enter: Callable[[Settings], None] | None = None,
        start: StartDirectory | None = None,
        signals: SupervisorSignals | None = None,
    ) -> None:
        self._name = name
        self._start_directory = start or StartDirectory()
        enter = enter or _stay
        umask = self._prepare(settings, enter)
        predecessor = inherit()
        inherited = () if predecessor is None else (predecessor.listeners, predecessor.passed)
        self._sockets = Sockets(*inherited)
        self._takeover = Takeover(
            predecessor,
            notifier=self._notifier,
            sockets=self._sockets,
            start=self._start_directory,
            umask=umask,
            ignored=[] if signals is None else signals.ignored,
        )
        self._development: Development | None = None
        try:
            self._plans = Plans(
                settings,
                self._sockets,
                load=load,
                enter=enter,
                arrive=self._start_directory.close,
                reread=reread,
                closing=lambda: self._accepting.find_closing(),  # noqa: PLW0108 - it is made later
                umask=umask,
                heir_of=0 if predecessor is None else predecessor.pid,
            )
            self._take_possession(settings, signals)
        except BaseException:
            if signals is not None:
                signals.queue_quietly()
            self._close()
            raise
        self._attach(settings)

    def _prepare(self, settings: Settings, enter: Callable[[Settings], None]) -> int:
        """Prepare this process, and return the umask with which it was started. Raises StartError."""
        set_up(settings.log_level, settings.server_log_format)
        enter(settings)  # the supervisor's own paths are relative to it
        refuse_contradictions(settings)
        if find_identity(settings).changes:  # rejects an impossible user before anything else is done
            import_later()  # once, for all processes
        self._notifier = Notifier.from_environment()
        self._service = Service(self._notifier)
        say_sizes(settings)
        umask = read_umask()
        set_umask(settings)
        name_supervisor(self._name)
        check_hooks(settings, IN_SUPERVISOR)
        call_hook(ON_STARTING, settings, SupervisorInfo(os.getpid(), 1))
        return umask

    def _take_possession(self, settings: Settings, signals: SupervisorSignals | None) -> None:
        """Write the pidfile, and preload. Raises StartError, and KeyboardInterrupt for a signal that came until now."""
        self._takeover.write_pidfile(self._plans[1].pidfile)
        self._takeover.drop(self._sockets.drop_inherited())
        if signals is not None:
            signals.interrupt()  # not before: what is opened must be known, or it cannot be closed
        if settings.preload:
            self._preload(settings)
        if signals is not None:
            signals.queue()

    def _attach(self, settings: Settings) -> None:
        """Make what decides about the processes. Nothing can fail from here on."""
        self._fleet = Fleet(fleet_settings_of(settings), persists=settings.reload)
        self._reloads = Reloads(self._fleet, self._plans, self._service, name=self._name)
        self._milestones = Milestones(self._fleet, self._service, name=self._name)
        self._development = self._develop(settings) if settings.reload else None
        self._changed = ""  # in development, why the application must be loaded again
        self._containment = Containment()
        self._step = self._containment.step
        self._processes = ProcessTable(
            self._fleet,
            name=self._name,
            development=self._development,
            serves=self._milestones.serves,
            step=self._step,
        )
        self._accepting = Accepting(
            self._fleet, self._processes, self._plans, sockets=self._sockets, takeover=self._takeover
        )
        self._dispatcher = Dispatcher(
            self._fleet,
            self._processes,
            self._accepting,
            reloads=self._reloads,
            milestones=self._milestones,
            service=self._service,
            takeover=self._takeover,
            step=self._step,
        )
        self._exit: Exit | None = None  # all processes have ended
        self._takeover.attach(self._fleet, self._processes, self._drain)

    def _preload(self, settings: Settings) -> None:
        """Load the application once, for all processes. Log what the processes will not have, or will share."""
        self._plans.preload(settings)
        contain_handlers()
        own = [listener.socket.fileno() for listener in self._sockets]
        for hindrance in find_hindrances([*own, *self._takeover.descriptors]):
            logger().warning("preload: %s", hindrance)
        freeze()

    def _develop(self, settings: Settings) -> Development:
        """Prepare to watch the application's sources and the files of its settings."""
        from halfsync.supervisor.development.child import Development  # noqa: PLC0415 - only development needs it
        from halfsync.supervisor.development.watching import Scope  # noqa: PLC0415

        names = ("halfsync.toml", "pyproject.toml", *filter(None, [settings.config]))
        files = [os.path.join(self._start_directory.name, name) for name in names]
        roots = tuple(os.path.abspath(one) for one in settings.reload_dir) or (os.getcwd(),)
        files += [settings.env_file] if settings.env_file else []
        return Development(Scope(roots, settings.reload_include, settings.reload_exclude), files)

    def run(self, signals: SupervisorSignals) -> int | SpawnContext:
        """Serve until told to end, and return the exit code; in a forked process, return its context at once.

        signals: entered already. They are exited at the end, but not in a forked process, which has its own.
        """
        outcome: int | SpawnContext | None = None
        while outcome is None:
            with self._step("a turn of the loop") as step:
                outcome = self._turn(signals)
            if step.failed:
                readable([], AGAIN_S)
        return outcome

    def _turn(self, signals: SupervisorSignals) -> int | SpawnContext | None:
        """Do what is due now, and wait. Return None, or, at the end, the result of `run`."""
        if self._development is not None:
            with self._step("starting the watcher of sources"):
                self._development.keep_watching(lambda: self._close_all_in_fork(signals))
        decided = self._dispatcher.decide()
        with self._step("closing what no process needs"):
            self._accepting.close_unneeded()
        for action in decided:
            if isinstance(action, Start):
                context = self._start(action, signals)
                if context is not None:
                    return context
            elif isinstance(action, Exit):
                self._exit = action
            else:
                self._dispatcher.dispatch(action)
        if self._exit is not None and self._may_end():
            with self._step("the end"):
                self._end(signals)
            return self._exit.code
        number = self._wait(signals)
        if number is not None:
            with self._step(NOUNS.get(number, number.name)):
                self._obey(number)
        self._take_note(signalled=number is not None)
        self._containment.end_turn()
        return None

    def _start(self, action: Start, signals: SupervisorSignals) -> SpawnContext | None:
        """Fork a process, as `ProcessTable.start` does. If it fails, the fleet tries the start again after a pause."""
        context: SpawnContext | None = None
        with self._step("starting a process") as step:
            plan = self._plans[action.generation]
            kept = (*plan.listeners, *plan.admin)
            context = self._processes.start(action, plan, partial(self._close_in_fork, signals, kept))
        if step.failed:
            self._fleet.not_started("the log above says why", monotonic())
        return context

    def _wait(self, signals: SupervisorSignals) -> signal.Signals | None:
        """Wait for a signal, a word of a process, or a time that is due. Return the signal, if there was one."""
        number = None
        with self._step("waiting") as step:
            beat = self._notifier.beat()
            due = min(
                self._fleet.due(), self._processes.look_due(), self._containment.due, self._takeover.due()
            )
            due = min(due, math.inf if beat is None else monotonic() + beat)
            if self._processes.has_full_channel:
                due = min(due, monotonic() + AGAIN_S)
            timeout = None if due == math.inf else max(0.0, due - monotonic())
            if self._processes.unreaped or self._processes.signalled:
                timeout = 0.0
            contain_handlers()
            number = signals.wait(self._watched(), timeout)
        if step.failed:
            readable([], AGAIN_S)
        return None if number is None else signal.Signals(number)

    def _watched(self) -> list[int]:
        """Return the descriptors that become readable when something has happened."""
        fds = self._processes.fds + self._takeover.fds
        if self._development is not None:
            fds += self._development.fds
        return fds

    def _take_note(self, *, signalled: bool) -> None:
        """Tell the fleet what has happened, and act on it. signalled: more signals may wait."""
        with self._step("listening to the processes"):
            if not signalled:
                self._processes.replace_signalled()
            self._processes.listen()
        if self._development is not None:
            with self._step("listening to the watcher of sources"):
                self._changed = self._changed or self._development.changed()
        with self._step("reaping"):
            for pid, code in self._processes.reap():
                with self._step(f"taking note of the end of process {pid}"):
                    self._takeover.reaped(pid)
                    if self._development is not None and self._development.reaped(pid, code):
                        self._changed = "a source that was not watched for a moment may have"
        with self._step("the upgrade"):
            self._takeover.turn()
        if self._changed:
            with self._step("the reload") as step:
                assert self._development is not None
                self._reloads.renew(self._changed, self._development)
            if not step.failed:
                self._changed = ""
        with self._step("looking at the processes"):
            self._processes.look()

    # Signals.

    def _obey(self, number: signal.Signals) -> None:
        """Do what a signal asks for: first tell the fleet, then do everything else."""
        if number == signal.SIGTERM and self._takeover.takes_term():
            return
        if self._exit is not None and number in ENDING:
            self._takeover.hurry()
        if number == signal.SIGTERM:
            self._drain()
        elif number in (signal.SIGINT, signal.SIGQUIT):
            before = self._fleet.state
            self._fleet.quit()
            self._processes.scoreboard.shutting_down = True
            if before is FleetState.SERVING:
                self._service.stopping()
        elif number == signal.SIGHUP:
            self._reloads.begin()
        elif number == signal.SIGUSR1:
            self._plans.give_logs()
            self._processes.tell_all(REOPEN)
        elif number == signal.SIGUSR2:
            self._takeover.begin(self._plans[self._fleet.generations.base].settings.config)
        elif number in (signal.SIGTTIN, signal.SIGTTOU):
            self._fleet.resize(1 if number == signal.SIGTTIN else -1)

    def _drain(self) -> None:
        """Begin to end. The second call ends now."""
        before = self._fleet.state
        self._fleet.drain(monotonic())
        self._processes.scoreboard.shutting_down = True
        if before is FleetState.SERVING:
            self._service.stopping()
            fleet_settings = self._fleet.fleet_settings
            logger().info("%s", draining(fleet_settings.drain_delay, fleet_settings.graceful_timeout))

    def _close_all_in_fork(self, signals: SupervisorSignals) -> None:
        """Close what is the supervisor's and the serving processes', in a forked process that does not serve."""
        self._close_in_fork(signals, ())
        self._start_directory.close()
        for end in self._processes.handoff_queue:
            end.close()

    def _close_in_fork(self, signals: SupervisorSignals, kept: Collection[Listener]) -> None:
        """Close what is the supervisor's, in a process that it has forked."""
        forget_signals()
        drop_signals(*SENT)
        unblock()
        for descriptor in signals.descriptors:
            os.close(descriptor)
        self._processes.close_in_fork()
        self._takeover.close_in_fork()
        self._sockets.close_in_fork(kept)

    def _may_end(self) -> bool:
        over = False
        with self._step("the end"):
            over = self._takeover.may_end()
        return over  # noqa: RET504 - False, if the step failed

    def _end(self, signals: SupervisorSignals) -> None:
        """Close what is open, and log how the requests ended."""
        # The signals come last: the default action of most would end this process before it has removed its files.
        for close in (self._close, self._processes.close, partial(signals.__exit__, None, None, None)):
            with self._step("the end"):
                close()
        if self._milestones.announced:
            with self._step("the end"):
                outcome = Outcome(self._processes.finished, self._processes.cut)
                logger().info("%s", farewell(outcome, lost=self._processes.lost))

    def _close(self) -> None:
        with ExitStack() as stack:  # if one close fails, the others are still done
            stack.callback(self._takeover.close)
            stack.callback(self._sockets.close)
            if self._development is not None:
                stack.callback(self._development.close)


def _stay(_: Settings) -> None:
    """Stay in the current directory: an application that is loaded already needs no other."""
