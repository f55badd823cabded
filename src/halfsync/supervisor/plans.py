"""What the processes of each generation serve, and as which user: made from the settings, at start and at each reload.

Nothing of a plan is used before the first process of its generation is ready (generations.py). So everything that can
be rejected is rejected while the plan is made, and an unused plan leaves nothing behind: `keep` closes its sockets.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from halfsync.errors import BindError, StartError, reason_of
from halfsync.host.hooks import IN_SUPERVISOR, check_hooks
from halfsync.host.identity import find_identity
from halfsync.host.pidfile import PidFile
from halfsync.log import logger
from halfsync.native.system import readable
from halfsync.observe.logfile import give_log
from halfsync.runtime.originals import monotonic
from halfsync.settings import SETTINGS
from halfsync.settings.setting import AT_START, OPEN_SOCKETS
from halfsync.supervisor.children import FleetSettings
from halfsync.supervisor.process import Plan
from halfsync.supervisor.sockets import names_of
from halfsync.transport.certificates import load_tls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from halfsync.server import Application
    from halfsync.settings import Settings
    from halfsync.stream.handler import StreamFactory
    from halfsync.supervisor.sockets import Sockets

CLOSING_S = 5.0  # wait for a process that leaves to close a listener whose address a reload names again
LOOK_S = 0.05  # between two tries
OF_PRELOADED = (
    "wsgi_app",
    "chdir",
    "pythonpath",
    "factory",
    "stream",
)  # settings with which a preloaded application was loaded


class Plans:
    """The plans by generation. Owned by the supervisor.

    first: the settings at the start. load, enter and arrive: as in `Plan`. reread: returns the
    current settings; its argument is those that count. closing: returns the names of the listeners of processes that
    leave, which may not have closed them yet. umask: that at the start. heir_of: the process whose pidfile this one
    will take over. Raises StartError for settings that cannot work.
    """

    def __init__(
        self,
        first: Settings,
        sockets: Sockets,
        *,
        load: Callable[[Settings], Application | StreamFactory],
        enter: Callable[[Settings], None],
        arrive: Callable[[], None],
        reread: Callable[[Settings], Settings],
        closing: Callable[[], set[str]],
        umask: int,
        heir_of: int = 0,
    ) -> None:
        self.load = load
        self._first = first
        self._sockets = sockets
        self._enter = enter
        self._arrive = arrive
        self._reread = reread
        self._closing = closing
        self._umask = umask
        self._heir_of = heir_of
        self._plans = {1: self._plan(first, None)}
        for name in sockets.unapplied(first):  # to sockets of an old program
            logger().warning("%s has changed: %s", name, OPEN_SOCKETS)

    def __getitem__(self, generation: int) -> Plan:
        """Return the plan of a generation that is kept."""
        return self._plans[generation]

    def __setitem__(self, generation: int, plan: Plan) -> None:
        """Set the plan of a generation."""
        self._plans[generation] = plan

    def preload(self, settings: Settings) -> None:
        """Load the application now, for the processes of all generations. Raises StartError."""
        application = self.load(settings)
        self.load = lambda _: application
        self._plans[1] = replace(self._plans[1], load=self.load)

    def give_logs(self) -> None:
        """Let the user of the processes reopen the access logs, if that takes root's rights."""
        for plan in self._plans.values():
            owner, path = plan.identity.owner, plan.settings.access_log
            if owner is None or path is None:
                continue
            try:
                give_log(plan.settings.chdir or "", path, owner)
            except OSError as error:
                logger().warning("the access log %r cannot be created: %s", path, reason_of(error))

    def again(self, before: Plan) -> Plan:
        """Return a plan from the current settings. before: the plan that counts. Raises StartError: nothing changed."""
        settings = self._reread(before.settings)
        if not settings.workers and before.settings.workers:
            logger().warning(
                "workers is no longer set, and stays %d: only a restart ends the supervisor",
                before.settings.workers,
            )
            settings = replace(settings, workers=before.settings.workers)
        settings = pin(settings, before.settings)
        try:
            self._enter(settings)
            plan = self._plan_soon(settings, before)
        except BaseException:
            self.enter(before)
            raise
        for name in self._sockets.unapplied(settings):
            if getattr(settings, name) != getattr(before.settings, name):
                logger().warning("%s has changed: %s", name, OPEN_SOCKETS)
        return plan

    def _plan_soon(self, settings: Settings, before: Plan) -> Plan:
        """Return the plan as `_plan` does. Wait if a process that leaves has not closed a listener of this name yet.

        That takes a moment, unless the process is stopped or its application keeps the GIL.
        """
        deadline = monotonic() + CLOSING_S
        while True:
            try:
                return self._plan(settings, before)
            except BindError as error:
                wanted = names_of(settings) - set(self._sockets.listeners)
                in_use = error.errno == errno.EADDRINUSE
                if not in_use or not wanted & self._closing() or monotonic() >= deadline:
                    raise
            readable([], LOOK_S)

    def enter(self, plan: Plan) -> None:
        """Change back to the directory of a plan, if it still exists."""
        with suppress(StartError):
            self._enter(plan.settings)

    def _plan(self, settings: Settings, before: Plan | None) -> Plan:
        """Return the plan of a generation with these settings. Raises StartError."""
        if before is not None:
            check_hooks(settings, IN_SUPERVISOR)
        identity = find_identity(settings)
        tls = load_tls(settings)
        pidfile = self._find_pidfile(settings, before)
        umask = self._umask if settings.umask is None else settings.umask
        listeners, admin, names = self._sockets.open(settings)
        return Plan(
            settings,
            listeners,
            admin,
            names,
            identity,
            None if settings.umask == self._first.umask else umask,  # None: the supervisor's, which all have
            pidfile,
            self.load,
            self._enter,
            self._arrive,
            tls,
        )

    def _find_pidfile(self, settings: Settings, before: Plan | None) -> PidFile | None:
        """Return the pidfile that the settings name: the present one, or another, checked to be writable."""
        file = PidFile.of(settings, heir_of=self._heir_of)
        if before is None or file is None:
            return file
        if before.pidfile is not None and before.pidfile.path == file.path:
            return before.pidfile
        file.check()
        return file

    def keep(self, generations: set[int], serving: Iterable[Plan]) -> None:
        """Forget the plans of all other generations. Close the sockets that no plan names, kept or serving."""
        self._plans = {number: plan for number, plan in self._plans.items() if number in generations}
        self._sockets.keep(name for plan in (*self._plans.values(), *serving) for name in plan.names)


def fleet_settings_of(settings: Settings) -> FleetSettings:
    """Return the settings that the fleet needs."""
    return FleetSettings(
        settings.workers or 1, settings.boot_timeout, settings.graceful_timeout, settings.drain_delay
    )


def pin(settings: Settings, before: Settings) -> Settings:
    """Return new settings, but keep old values that only a restart can change, and log a line for each of those."""
    pinned = {}
    for setting in SETTINGS:
        name = setting.name
        if getattr(settings, name) == getattr(before, name):
            continue
        if setting.reload == AT_START or (before.preload and name in OF_PRELOADED):
            pinned[name] = getattr(before, name)
            logger().warning("%s has changed: %s", name, AT_START)
    return replace(settings, **pinned)
