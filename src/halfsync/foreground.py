"""Serving in the foreground: a server in its own process, which obeys signals, or the orders of a supervisor."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from halfsync.admin.admin_server import AdminServer, open_admin
from halfsync.announcements import Outcome, announcement, draining, farewell, say_sizes
from halfsync.host.handlers import contain_handlers
from halfsync.host.identity import become, find_identity, set_umask
from halfsync.host.notify import Notifier
from halfsync.host.pidfile import PidFile
from halfsync.host.preflight import check_temp_dir, refuse_contradictions
from halfsync.listening.listeners import close_all, refuse_shared
from halfsync.log import logger, set_up
from halfsync.native.allocator import keep_freed_memory
from halfsync.opened import Opened
from halfsync.orders import CLOSE_KEEPALIVES, DRAIN, FINISH, HAND_OFF, QUIT, REOPEN, positions_in
from halfsync.runtime.originals import monotonic, signal
from halfsync.runtime.output import hold_standard_descriptors
from halfsync.runtime.signals import Signals
from halfsync.server import seat_server, start_in_front
from halfsync.settings.lanes import lane_names

if TYPE_CHECKING:
    from halfsync.models.model import MainThread
    from halfsync.orders import OrderSource
    from halfsync.server import Application, Server
    from halfsync.settings import Settings
    from halfsync.stream.handler import StreamFactory

# What signals mean to a server without a supervisor.
SIGNAL_ORDERS = {
    signal.SIGTERM: DRAIN,
    signal.SIGINT: QUIT,
    signal.SIGQUIT: QUIT,
    signal.SIGUSR1: REOPEN,
}
# What these signals need a supervisor for.
NEED_SUPERVISOR = {
    signal.SIGHUP: "a reload",
    signal.SIGUSR2: "an upgrade",
    signal.SIGTTIN: "one process more",
    signal.SIGTTOU: "one process fewer",
}


class LoggingSignals(Signals):
    """Signals, with a log line that explains a SIGTERM that nothing has sent: the terminal was closed."""

    def hung_up(self) -> None:
        """Log that the terminal was closed."""
        logger().info("the terminal was closed")


class LoneSignals(LoggingSignals):
    """What a server without a supervisor obeys, and what it only explains, unless the program has a use for it."""

    OPTIONAL = tuple(NEED_SUPERVISOR)


def serve_alone(application: Application | StreamFactory, settings: Settings, name: str) -> None:
    """Serve in this process until a signal ends it. name: what the start-up line calls the application.

    Raises UsageError or BindError for settings that cannot work.
    """
    refuse_contradictions(settings)
    identity = find_identity(settings)
    notifier = Notifier.from_environment()
    prepare_process(settings)
    say_sizes(settings)
    set_umask(settings)
    slot = None
    if settings.admin_bind:
        from halfsync.shared.scoreboard import Scoreboard  # noqa: PLC0415 - only admin_bind needs it here

        scoreboard = Scoreboard(1)
        scoreboard.measure(lane_names(settings.lanes, settings.client_share))
        slot = scoreboard.slot(0, measured=True)
    with LoneSignals() as signals, ExitStack() as failing:  # first the signals: so none leaves a file behind
        with Opened.of(settings, identity) as opened:
            server = seat_server(application, settings, seat=slot, opened=opened)
        failing.callback(server.close)
        admin = open_admin(settings)
        failing.callback(close_all, admin)
        refuse_shared(server.listeners, admin, origin=settings.origins.get("admin_bind", ""))
        with PidFile.writing(settings):
            become(identity)
            check_temp_dir(settings)
            failing.pop_all()
            with AdminServer(settings, admin, slot) as admin_server:
                main_thread = start_in_front(server, signals, admin_server.descriptors)
                if slot is not None:
                    slot.describe(name, settings.model, server.settings.threads)
                    slot.serve()
                line = announcement(server.settings, server.listeners, admin, name)
                logger().info("%s", line)
                notifier.ready(line)
                logger().info("%s", farewell(run_until_told(server, main_thread, signals, notifier=notifier)))


def prepare_process(settings: Settings) -> None:
    """Prepare this process for serving: its standard descriptors, its log, its allocator."""
    hold_standard_descriptors()
    set_up(settings.log_level, settings.server_log_format)
    keep_freed_memory()


def run_until_told(
    server: Server,
    main_thread: MainThread,
    signals: Signals,
    orders: OrderSource | None = None,
    notifier: Notifier | None = None,
) -> Outcome:
    """Obey signals and orders until the server has ended, and do in between what is left to the main thread.

    notifier: tells the service manager, if this process is the service.
    """
    notifier = notifier or Notifier()
    run = _Run(server, notifier, supervised=orders is not None)
    while not run.over:
        poll_interval = None if orders is None else orders.poll_interval()
        timeout = min(
            (
                due
                for due in (main_thread.timeout(), notifier.beat(), run.remaining(), poll_interval)
                if due is not None
            ),
            default=None,
        )
        heard = [] if orders is None or orders.fd < 0 else [orders.fd]
        contain_handlers()  # a hook may have set some
        number = signals.wait([*main_thread.watched, *heard], timeout)
        main_thread.turn()
        order = _find_order(number, orders) or (None if orders is None else orders.next())
        if order is not None:
            run.obey(order)
            if orders is not None:
                orders.obeyed(order)
        elif server.wait(0):
            break
        elif run.is_late():
            run.on_deadline()
        main_thread.turn()  # no event may follow that makes another one due
    return run.end()


def _find_order(number: int | None, orders: OrderSource | None) -> str | None:
    if number is None:
        return None
    if orders is None:
        if number in NEED_SUPERVISOR:
            logger().warning(
                "%s is ignored: %s needs a supervisor; start the server with workers 1 or more, or restart it",
                *(signal.Signals(number).name, NEED_SUPERVISOR[signal.Signals(number)]),
            )
        return SIGNAL_ORDERS.get(signal.Signals(number))
    # A terminal or a service manager signals the whole group, and the supervisor acts for all processes. If each
    # process left on its own, none would accept what is in the backlog.
    if number == signal.SIGTERM:
        orders.report_sigterm()
    return None


class _Run:
    """The state of one server, from serving to its end."""

    def __init__(self, server: Server, notifier: Notifier, *, supervised: bool) -> None:
        self.server = server
        self._notifier = notifier
        self.over = False
        self._supervised = supervised
        self._deadline: float | None = None
        self._state = ""  # the order that it carries out, if it ends
        self._before = 0  # requests that were finished before it began to end

    def obey(self, order: str) -> None:
        """Obey an order."""
        order, _, listeners = order.partition(" ")
        if order == QUIT or (order == DRAIN and self._state in (DRAIN, CLOSE_KEEPALIVES)):
            self.over = True
        elif order == DRAIN or (order == FINISH and self._state not in (DRAIN, HAND_OFF)):
            self._drain()  # not one that hands off: it drains by itself once no process can adopt
        elif order == HAND_OFF and not self._state:
            self._begin(order, self._settings.graceful_timeout)
            self.server.hand_off(positions_in(listeners))
        elif order == CLOSE_KEEPALIVES:
            self.server.close_keepalives()
        elif order == REOPEN:
            self.server.reopen_logs()

    def _drain(self) -> None:
        """Begin to end. Without a supervisor, first close keep-alives, so that load balancers notice."""
        delay = 0.0 if self._supervised or self._state else self._settings.drain_delay
        self._say(draining(delay, self._settings.graceful_timeout))
        self._notifier.stopping()
        if delay:
            self._begin(CLOSE_KEEPALIVES, delay)
            self.server.close_keepalives()
        else:
            self._drain_now()

    def _drain_now(self) -> None:
        self._begin(DRAIN, self._settings.graceful_timeout)
        self.server.drain()

    def _begin(self, state: str, seconds: float) -> None:
        if not self._state:
            self._before = self.server.statistics()["finished"]
        self._state = state
        self._deadline = monotonic() + seconds

    def on_deadline(self) -> None:
        """Go on to the next state: the time for this one is over."""
        if self._state == CLOSE_KEEPALIVES:
            self._drain_now()
        else:
            self.over = True

    @property
    def _settings(self) -> Settings:
        return self.server.settings

    def remaining(self) -> float | None:
        """Return the seconds that are left; None: there is no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def is_late(self) -> bool:
        """Return whether the deadline has passed."""
        return self._deadline is not None and monotonic() >= self._deadline

    def end(self) -> Outcome:
        """Close the server, and return how its requests ended."""
        counts = self.server.statistics()
        self.server.close()
        finished = counts["finished"] - self._before if self._state else 0
        return Outcome(finished, counts["running"] + counts["queued"])

    def _say(self, line: str) -> None:
        if not self._supervised:
            logger().info("%s", line)
