"""What is logged, and said to the service manager, when a start or a reload gets on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.announcements import announcement
from halfsync.host.hooks import WHEN_READY, SupervisorInfo, call_hook
from halfsync.log import logger
from halfsync.runtime.originals import os
from halfsync.runtime.output import counted
from halfsync.supervisor.children import ProcessPhase

if TYPE_CHECKING:
    from halfsync.supervisor.fleet import Fleet
    from halfsync.supervisor.process import Plan
    from halfsync.supervisor.service import Service


class Milestones:
    """Reports each step once. Owned by the supervisor. name: what the start-up line calls the application."""

    def __init__(self, fleet: Fleet, service: Service, *, name: str) -> None:
        self.announced = False  # the server has served
        self._fleet = fleet
        self._service = service
        self._name = name
        self._places: dict[str, str] = {}  # where it listens, by setting

    def serves(self, plan: Plan) -> None:
        """Log once that the server serves. plan: of a process that is ready."""
        if not self.announced:
            self.announced = True
            line = announcement(
                plan.settings, plan.listeners, plan.admin, self._name, processes=self._fleet.wanted
            )
            logger().info("%s", line)
            call_hook(WHEN_READY, plan.settings, SupervisorInfo(os.getpid(), self._fleet.generations.base))

    def counts(self, plan: Plan) -> None:
        """Log if the server listens elsewhere from now on: the first process with this plan is ready."""
        before = self._places
        places = {"bind": plan.listeners, "admin_bind": plan.admin}
        self._places = {name: ", ".join(one.place for one in some) for name, some in places.items()}
        for name, place in self._places.items():
            if place != before.get(name, place):
                logger().info("%s is now %s", name, place or "none")

    def settled(self, generation: int) -> None:
        """Log that a start or a reload is complete."""
        wanted = self._fleet.wanted
        serving = counted(wanted, "process serves", "processes serve")
        failed = any(child.stands_in for child in self._fleet.of(ProcessPhase.READY))
        if failed:
            serving += ", and shows why the application cannot be loaded"
        how = "failed" if failed else "is complete"
        line = f"{f'the reload {how}: ' if generation > 1 else ''}{'all ' if wanted > 1 else ''}{serving}"
        (logger().warning if failed else logger().info)("%s", line)
        self._service.serves(serving)
