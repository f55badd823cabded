"""On which listeners which processes accept, and which listeners no process needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.supervisor.children import ProcessPhase
from halfsync.supervisor.fleet import FleetState

if TYPE_CHECKING:
    from halfsync.supervisor.fleet import Fleet
    from halfsync.supervisor.plans import Plans
    from halfsync.supervisor.process import Plan
    from halfsync.supervisor.process_table import ProcessTable
    from halfsync.supervisor.sockets import Sockets
    from halfsync.supervisor.takeover import Takeover


class Accepting:
    """Compares the plans of processes. Owned by the supervisor."""

    def __init__(
        self, fleet: Fleet, processes: ProcessTable, plans: Plans, *, sockets: Sockets, takeover: Takeover
    ) -> None:
        self._fleet = fleet
        self._processes = processes
        self._plans = plans
        self._sockets = sockets
        self._takeover = takeover

    def _serving_plans(self) -> list[Plan]:
        return [self._processes.plan(child.pid) for child in self._fleet.of(ProcessPhase.READY)]

    def find_exclusive(self, pid: int) -> list[int]:
        """Return the positions of a process's listeners on which no other process accepts, or is certain to accept.

        Clients in their backlogs would wait in vain, so the process accepts them before it leaves.
        """
        listeners = self._processes.plan(pid).listeners
        if self._fleet.state is FleetState.DRAINING:
            accepts = self._takeover.other_accepts
            return [position for position, one in enumerate(listeners) if not accepts(one.socket)]
        plans = self._serving_plans()
        if self._fleet.generations.is_proven or self._fleet.persists:
            plans.append(self._plans[self._fleet.generations.target])
        accepted = {listener.socket for plan in plans for listener in plan.listeners}
        return [position for position, one in enumerate(listeners) if one.socket not in accepted]

    def find_closing(self) -> set[str]:
        """Return the names of the listeners of the processes that do not serve."""
        serving = self._fleet.of(ProcessPhase.READY)
        plans = [
            self._processes.plan(pid) for pid, child in self._fleet.children.items() if child not in serving
        ]
        return {name for plan in plans for name in plan.names}

    def close_unneeded(self) -> None:
        """Drop plans that no process will use, and close listeners that no plan names.

        A listener is kept while a process accepts on it, even a process that is about to be replaced: the next reload
        may name it again. It is closed before the last such process is ordered to leave, and that process empties the
        backlog. If the socket stayed open, clients would wait in its backlog in vain. For the same reason all listeners
        are closed once all processes are about to end.
        """
        if self._fleet.state not in (FleetState.SERVING, FleetState.DRAIN_DELAY):
            self._sockets.close()
            return
        generations = self._fleet.generations
        self._plans.keep({generations.target, generations.base}, self._serving_plans())
