"""Reloads: new settings, and new processes with these settings in the place of all others.

A reload begins with a plan (plans.py) and a generation of the fleet (fleet.py). It counts when the first process of
that generation is ready; the supervisor then uses its settings, too. It is complete when none of the processes that it
replaces takes requests. If it fails before it counts, for any reason, everything is as before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from halfsync.errors import LoadError, StartError
from halfsync.host.hooks import ON_RELOAD, SupervisorInfo, call_hook
from halfsync.log import logger, set_up
from halfsync.runtime.originals import os
from halfsync.supervisor.children import ProcessPhase
from halfsync.supervisor.fleet import LOAD_FAILED, OWN_CODES, FleetState
from halfsync.supervisor.plans import fleet_settings_of

if TYPE_CHECKING:
    from halfsync.server import Application
    from halfsync.settings import Settings
    from halfsync.supervisor.actions import Abandoned, Failed
    from halfsync.supervisor.development.child import Development
    from halfsync.supervisor.fleet import Fleet
    from halfsync.supervisor.plans import Plans
    from halfsync.supervisor.process import Plan
    from halfsync.supervisor.service import Service


class Reloads:
    """Begins reloads, and ends those that fail. Owned by the supervisor. name: the application's."""

    def __init__(self, fleet: Fleet, plans: Plans, service: Service, *, name: str) -> None:
        self._fleet = fleet
        self._plans = plans
        self._service = service
        self._name = name

    @property
    def _now(self) -> Plan:
        """The plan that counts."""
        return self._plans[self._fleet.generations.base]

    def begin(self) -> None:
        """Read the settings again, and ask for processes that have them. Settings that cannot work change nothing."""
        if self._fleet.state is not FleetState.SERVING:
            logger().warning("reload ignored: shutting down")
            return
        self._service.reloading()
        reason = "the reload failed; see the log"
        try:
            self._begin(self._now)
        except StartError as error:
            reason = f"the reload failed: {error}; the old processes keep serving"
            logger().error("%s", reason)
            self._service.reload_failed(reason, is_over=self._fleet.generations.is_settled)
        except BaseException:
            self._service.reload_failed(reason, is_over=self._fleet.generations.is_settled)
            raise

    def _begin(self, before: Plan) -> None:
        plan = self._plans.again(before)
        self._call_hook(plan)
        what = "settings" if before.settings.preload else "code and settings"
        logger().info("reloading with the current %s", what)
        if before.settings.preload:
            logger().warning("reload keeps the preloaded code: only a restart loads it again")
        self._adopt(plan)

    def _call_hook(self, plan: Plan) -> None:
        """Call on_reload. LoadError: it failed, and the reload with it."""
        try:
            call_hook(ON_RELOAD, plan.settings, SupervisorInfo(os.getpid(), self._fleet.generations.base))
        except LoadError:
            self._plans.enter(self._now)
            raise

    def renew(self, changed: str, development: Development) -> None:
        """Replace all processes now: a file that they loaded has changed. If the settings cannot work, show why."""
        if self._fleet.state is not FleetState.SERVING:
            return
        self._service.reloading()
        before = self._now
        try:
            plan = self._plans.again(before)
            self._call_hook(plan)
        except StartError as error:
            logger().error("the settings cannot be used: %s", error)
            plan = _unloadable(before, LoadError(error.problem, origin=error.origin, remedy=error.remedy))
        self._adopt(plan, at_once=True)
        living = self._fleet.of(ProcessPhase.BOOTING, ProcessPhase.READY, ProcessPhase.RECALLED)
        development.announce(changed, [child.pid for child in living])

    def _adopt(self, plan: Plan, *, at_once: bool = False) -> None:
        """Ask for processes with this plan. at_once: as for `Fleet.reload`."""
        self._plans[self._fleet.reload(fleet_settings_of(plan.settings), at_once=at_once)] = plan

    def show_failure(self, failed: Failed) -> None:
        """In development, let the next try show why this one failed. If the settings were wrong from the start, end."""
        if not self._fleet.generations.proven and failed.code in OWN_CODES and failed.code != LOAD_FAILED:
            self._fleet.fail(failed.code)
            return
        problem = f"the process that loaded it {failed.how}"
        error = LoadError(problem, origin=self._name, remedy="the log shows what it printed")
        self._plans[failed.generation] = _unloadable(self._now, error)

    def give_up(self, abandoned: Abandoned) -> None:
        """End a reload whose first process could not start."""
        self._plans.enter(self._now)
        self._service.reload_failed(abandoned.reason, is_over=self._fleet.generations.is_settled)

    def use(self, generation: int) -> Plan:
        """Use the settings of a generation that counts from now on, and return its plan."""
        plan = self._plans[generation]
        set_up(plan.settings.log_level, plan.settings.server_log_format)
        return plan


def _unloadable(plan: Plan, error: LoadError) -> Plan:
    """Return the same plan, but for an application whose loading raises this error."""

    def load(_: Settings) -> Application:
        raise error

    return replace(plan, load=load)
