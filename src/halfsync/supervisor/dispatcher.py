"""The way from a decision of the fleet to what does it: the process table, a reload, the log, another program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.log import logger
from halfsync.orders import HAND_OFF
from halfsync.runtime.originals import monotonic
from halfsync.supervisor.actions import Abandoned, Counts, Failed, Kill, Recall, Say, Settled, Tell
from halfsync.supervisor.fleet import FleetState

if TYPE_CHECKING:
    from collections.abc import Callable

    from halfsync.supervisor.accepting import Accepting
    from halfsync.supervisor.actions import Action
    from halfsync.supervisor.containment import Step
    from halfsync.supervisor.fleet import Fleet
    from halfsync.supervisor.milestones import Milestones
    from halfsync.supervisor.process_table import ProcessTable
    from halfsync.supervisor.reloading import Reloads
    from halfsync.supervisor.service import Service
    from halfsync.supervisor.takeover import Takeover

# Actions that are repeated if they fail. They would be lost otherwise.
REPEATED = (Tell, Recall, Kill, Counts, Abandoned, Settled)


class Dispatcher:
    """Carries out the fleet's actions, except Start and Exit. Owned by the supervisor.

    step: makes a step of the supervisor's loop; each action is one.
    """

    def __init__(
        self,
        fleet: Fleet,
        processes: ProcessTable,
        accepting: Accepting,
        *,
        reloads: Reloads,
        milestones: Milestones,
        service: Service,
        takeover: Takeover,
        step: Callable[[str], Step],
    ) -> None:
        self._fleet = fleet
        self._processes = processes
        self._accepting = accepting
        self._reloads = reloads
        self._milestones = milestones
        self._service = service
        self._takeover = takeover
        self._step = step
        self._undone: list[Action] = []  # actions that failed, and are tried again

    def decide(self) -> list[Action]:
        """Return the actions to do now. Actions that failed before come first, if their process still lives."""
        decided: list[Action] = []
        with self._step("deciding what is to be done"):
            decided = self._fleet.decide(monotonic())
            self._processes.scoreboard.note_restarts(self._fleet.restarts)
        undone, self._undone = self._undone, []
        living = self._fleet.children
        again = [one for one in undone if not isinstance(one, Tell | Recall | Kill) or one.pid in living]
        return [*again, *decided]

    def dispatch(self, action: Action) -> None:
        """Carry out an action. If it fails it is logged, and tried again if it must not be lost."""
        with self._step(f"the order {type(action).__name__}") as step:
            self._do(action)
        if step.failed and isinstance(action, REPEATED):
            self._undone.append(action)

    def _do(self, action: Action) -> None:
        match action:
            case Tell(pid, what) if what == HAND_OFF:
                self._processes.order_handoff(pid, self._accepting.find_exclusive(pid))
            case Tell(pid, what):
                self._processes.tell(pid, what)
            case Recall(pid):
                self._processes.recall(pid)
            case Kill(pid, reason):
                if reason:
                    logger().error("killing process %d: %s", pid, reason)
                self._processes.kill(pid)
            case Say(level, text):
                getattr(logger(), level)(text)
                if level == "error" and self._fleet.state in (FleetState.SERVING, FleetState.DRAIN_DELAY):
                    self._service.trouble(text)
            case Counts(generation):
                self._use(generation)
            case Abandoned():
                self._reloads.give_up(action)
            case Settled(generation):
                self._milestones.settled(generation)
                self._takeover.settled()
            case Failed():
                self._reloads.show_failure(action)

    def _use(self, generation: int) -> None:
        """Use the settings of a generation from now on: its first process serves."""
        if generation != self._fleet.generations.base:
            return  # a newer generation counts already
        plan = self._reloads.use(generation)
        self._takeover.move_pidfile(plan.pidfile)
        self._milestones.counts(plan)
