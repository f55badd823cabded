"""Notifications to the service manager about several processes, in the order that it expects.

    starting --READY--> serving --RELOADING--> reloading --READY--> serving;   any of them --STOPPING--> stopping

READY is sent when a start or a reload is over: complete, or given up. Only a status may follow STOPPING. See
sd_notify(3), and Type=notify-reload in systemd.service(5).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from halfsync.host.notify import Notifier


class ServiceState(Enum):
    """What the server is doing, for the service manager."""

    STARTING = "starting"
    SERVING = "serving"
    RELOADING = "reloading"
    STOPPING = "stopping"


class Service:
    """Notifies the service manager of the server's state. Owned by the supervisor's thread; no method raises."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._state = ServiceState.STARTING
        self._trouble = ""  # of a reload that failed while another was not over

    def reloading(self) -> None:
        """Notify that a reload begins. While the start is not over, the reload is part of it."""
        self._trouble = ""
        if self._state in (ServiceState.SERVING, ServiceState.RELOADING):
            self._state = ServiceState.RELOADING
            self._notifier.reloading()

    def serves(self, status: str) -> None:
        """Notify that all processes serve: a start or a reload is complete."""
        text = f"{status}; {self._trouble}" if self._trouble else status
        if self._state in (ServiceState.STARTING, ServiceState.RELOADING):
            self._state = ServiceState.SERVING
            self._notifier.ready(text)
        elif self._state is ServiceState.SERVING:
            self._notifier.status(text)

    def reload_failed(self, reason: str, *, is_over: bool) -> None:
        """Notify that a reload has failed. is_over: no other is under way."""
        if self._state is ServiceState.RELOADING and is_over:
            self._state = ServiceState.SERVING
            self._notifier.ready(reason)
        elif self._state is not ServiceState.STOPPING:
            self._trouble = reason
            self._notifier.status(reason)

    def trouble(self, text: str) -> None:
        """Send an error as a status. The state stays."""
        if self._state is not ServiceState.STOPPING:
            self._notifier.status(text)

    def stopping(self) -> None:
        """Notify that the server ends."""
        if self._state is not ServiceState.STOPPING:
            self._state = ServiceState.STOPPING
            self._notifier.stopping()
