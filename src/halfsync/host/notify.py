"""Notifications to the service manager (sd_notify(3)): ready, reloading, stopping, alive.

Each is a datagram of lines NAME=VALUE to the unix socket that NOTIFY_SOCKET names. Without that variable nothing is
sent. If the service manager cannot be reached, that is logged once, and the server goes on. Nothing is kept open, so
that forked processes inherit nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from halfsync.amounts import digits
from halfsync.errors import reason_of
from halfsync.log import logger
from halfsync.runtime.originals import monotonic, monotonic_ns, os, socket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
STATES = frozenset(["READY", "RELOADING", "MONOTONIC_USEC", "STOPPING"])  # the last one sent counts
_US_PER_S = 1_000_000


class Notifier:
    """Notifies the service manager about the process that made it. In a forked child it sends nothing.

    `from_environment` makes this process's notifier. Any thread may call it; no method blocks or raises. A program that
    takes the place of another one sends nothing until it is the service (`hold`, `release`). ``watchdog_interval``: how
    often `beat` must be called, in seconds; None: there is no watchdog. ``variables``: those that it was given.
    """

    def __init__(
        self, variables: Mapping[str, str] | None = None, *, now: Callable[[], float] = monotonic
    ) -> None:
        given = variables or {}
        self.variables = {name: given[name] for name in VARIABLES if given.get(name)}
        self._address = self.variables.get("NOTIFY_SOCKET", "")
        self._process = os.getpid()
        self._now = now
        self._failed = False
        self._held: list[str] = []  # the last of each kind, to be sent at `release`
        self._holds = False
        self.watchdog_interval = self._read_interval()
        self._due = now()

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None) -> Self:
        """Make a notifier of the variables, and remove them: programs that the application starts must not notify."""
        found = os.environ if environ is None else environ
        return cls({name: found.pop(name) for name in VARIABLES if name in found})

    def variables_for(self, process: int) -> dict[str, str]:
        """Return the variables for the environment of a process that takes the place of this one."""
        mine = {} if self.watchdog_interval is None else {"WATCHDOG_PID": str(process)}
        return {**self.variables, **mine}

    def hold(self) -> None:
        """Send nothing until `release`: another process is still the service."""
        self._holds = True

    def release(self, *, main: bool = False) -> None:
        """Send the last state and status, and everything from now on: this process is the service.

        main: also say that this is the main process, since the other one has not.
        """
        self._holds = False
        if main:
            self.main_process(self._process)
        held, self._held = self._held, []
        self._send(*held)

    def pass_on(self, process: int) -> None:
        """Notify that another process, given by pid, is the service from now on, and send nothing more."""
        self.main_process(process)
        self.hold()

    def _read_interval(self) -> float | None:
        """Return half the time after which systemd considers a silent process dead (sd_watchdog_enabled(3)).

        In seconds; None: there is no watchdog.
        """
        text = self.variables.get("WATCHDOG_USEC", "")
        owner = self.variables.get("WATCHDOG_PID", str(self._process))
        if not self._address or not text or owner != str(self._process):
            return None
        interval = digits(text)
        if interval is None or not 0 < interval < 2**63:
            self._complain(
                "WATCHDOG_USEC is %r, which is not a number of microseconds: no watchdog message is sent",
                text,
            )
            return None
        return interval / 2 / _US_PER_S

    def ready(self, status: str = "") -> None:
        """Notify that the server serves, at its start or after a reload."""
        self._send("READY=1", *_status(status))

    def reloading(self, status: str = "") -> None:
        """Notify that a reload begins; `ready` ends it (Type=notify-reload)."""
        moment = monotonic_ns() // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={moment}", *_status(status))

    def stopping(self, status: str = "") -> None:
        """Notify that the server drains and ends."""
        self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> None:
        """Send a description of what the server is doing, for `systemctl status`."""
        self._send(*_status(text))

    def main_process(self, process: int) -> None:
        """Notify that a process, given by pid, is the service from now on."""
        self._send(f"MAINPID={process}")

    def beat(self) -> float | None:
        """Notify that this process is alive, if that is due. Return the seconds until the next time; None: no watchdog.

        A loop calls this at each turn, and waits no longer than that.
        """
        if self.watchdog_interval is None or self._holds:
            return None
        now = self._now()
        if now >= self._due:
            self._send("WATCHDOG=1")
            self._due = now + self.watchdog_interval
        return self._due - now

    def _send(self, *lines: str) -> None:
        if not lines or not self._address or os.getpid() != self._process:
            return
        if self._holds:
            self._hold(lines)
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        if not self._address.startswith(("/", "@")):
            self._complain("NOTIFY_SOCKET is %r, which is neither a path nor an abstract name", self._address)
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode("utf-8", "replace"), address)
        except OSError as error:
            self._complain("cannot notify the service manager at %s: %s", self._address, reason_of(error))

    def _hold(self, lines: tuple[str, ...]) -> None:
        """Keep lines for `release`. They replace earlier lines of the same kind: a state, or a status."""
        names = {_name(line) for line in lines}
        if names & STATES:
            names |= STATES
        self._held = [*(line for line in self._held if _name(line) not in names), *lines]

    def _complain(self, message: str, *values: object) -> None:
        """Log the first failure only: those that follow have the same reason."""
        if not self._failed:
            self._failed = True
            logger().warning(message, *values)


def _name(line: str) -> str:
    """Return the name of an assignment."""
    return line.partition("=")[0]


def _status(text: str) -> list[str]:
    """Return the line of a status, if there is one, without line breaks, which would begin another assignment."""
    return [f"STATUS={' '.join(text.split())}"] if text else []
