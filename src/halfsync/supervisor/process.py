"""The life of one serving process, from the fork to its exit code."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from halfsync.admin.admin_server import AdminServer
from halfsync.errors import LoadError, StartError
from halfsync.foreground import prepare_process, run_until_told
from halfsync.host.handlers import outlive_handlers
from halfsync.host.hooks import POST_FORK, WORKER_EXIT, WORKER_READY, Worker, call_hook
from halfsync.host.identity import become
from halfsync.host.titles import name_worker
from halfsync.log import logger
from halfsync.opened import Opened
from halfsync.orders import DRAIN, FINISH, HAND_OFF
from halfsync.runtime.originals import monotonic, os, signal, socket
from halfsync.runtime.output import complain
from halfsync.runtime.signals import RECALL, Signals, outlive_signals
from halfsync.runtime.standard import genuine
from halfsync.server import seat_server, start_in_front

if TYPE_CHECKING:
    from collections.abc import Callable

    from halfsync.host.identity import Identity
    from halfsync.host.pidfile import PidFile
    from halfsync.listening.listeners import Listener
    from halfsync.server import Application, Server
    from halfsync.settings import Settings
    from halfsync.shared.scoreboard import Slot
    from halfsync.stream.handler import StreamFactory
    from halfsync.supervisor.channel import Channel
    from halfsync.supervisor.development.sources import Reporter
    from halfsync.transport.tls import Tls

READY = "ready"  # a process says that it serves
STANDS_IN = "stands-in"  # added to READY if, in development, it shows why the application cannot be loaded
QUIESCED = "quiesced"  # a process says that it takes no more new requests
SIGTERM_CAME = "sigterm"  # a process says that it got SIGTERM
QUIESCE_S = (
    1.0  # for connections that cannot be handed off: more than the queue holds, or in the middle of a request
)
QUIESCE_CHECK_S = 0.002
REPORT_S = 1.0  # how often a process in development looks for new imports
CUT = 1  # the exit code of a process that cut off requests that took longer than graceful_timeout


@dataclass(frozen=True, slots=True)
class Plan:
    """What the processes of one generation serve, and where.

    names: the names of the listeners (sockets.py). identity: the user that each process switches to. umask: None:
    unchanged. pidfile: the supervisor's. load: returns the application. enter: changes to the application's directory;
    it is called before load, and before anything of the application is imported. Both raise StartError. arrive: closes
    what only enter needed; it is called in each process, after enter. tls: the certificates with their keys, which all
    processes have from the supervisor; None: no listener speaks TLS.
    """

    settings: Settings
    listeners: list[Listener]
    admin: list[Listener]
    names: set[str]
    identity: Identity
    umask: int | None
    pidfile: PidFile | None
    load: Callable[[Settings], Application | StreamFactory]
    enter: Callable[[Settings], None]
    arrive: Callable[[], None]
    tls: Tls | None = None


@dataclass(frozen=True, slots=True)
class SpawnContext:
    """What `run_process` needs to make a serving process of one that was just forked.

    channel: to the supervisor. handoff_queue: the queue through which processes that leave hand off their connections;
    `run_process` closes both ends, or keeps the writing end until the process ends. reports: in development, where the
    process tells which files it has loaded.
    """

    name: str
    plan: Plan
    number: int
    generation: int
    slot: Slot
    channel: Channel
    handoff_queue: tuple[socket.socket, socket.socket]
    reports: socket.socket | None = None


class SupervisorOrders:
    """The supervisor's words as orders. If the supervisor has died, the order is to finish.

    It also reports to the supervisor when the server takes no more new requests. handoff_queue: the writing end of the
    hand-off queue. reporter: in development, looks for later imports. admin_server: stops listening when the server
    leaves.
    """

    def __init__(
        self,
        channel: Channel,
        server: Server,
        slot: Slot,
        handoff_queue: socket.socket,
        reporter: Reporter | None = None,
        *,
        admin_server: AdminServer | None = None,
    ) -> None:
        self._channel = channel
        self._admin_server = admin_server
        self._server = server
        self._slot = slot
        self._handoff_queue = handoff_queue
        self._reporter = reporter
        self._handing_off = False
        self._quiesce_by = math.inf
        self._reported_quiesced = False
        self._orphaned = False

    @property
    def fd(self) -> int:
        """A descriptor that becomes readable when there is an order; -1: no order will ever come."""
        return self._channel.fd

    def next(self) -> str | None:
        """Return the next order; None: there is none."""
        if self._quiesce_by < math.inf:
            self._report_quiesced()
        elif self._reporter is not None:
            self._reporter.look()
        word = self._channel.next()
        if self._channel.lost and not self._orphaned:
            self._orphaned = True
            logger().warning("the supervisor has died: finishing what was received")
            if not self._handing_off:
                self._end_handoffs()
            return FINISH
        return word

    def report_sigterm(self) -> None:
        """Report to the supervisor that this process got SIGTERM."""
        self._channel.tell(SIGTERM_CAME)

    def obeyed(self, order: str) -> None:
        """Note that the server has got an order."""
        word = order.partition(" ")[0]
        if word == HAND_OFF and not self._handing_off and self._admin_server is not None:
            self._admin_server.stop_listening()
        self._handing_off = self._handing_off or word == HAND_OFF
        if word in (HAND_OFF, DRAIN) and not self._reported_quiesced:
            self._quiesce_by = monotonic() + QUIESCE_S

    def poll_interval(self) -> float | None:
        """Return the interval in seconds at which orders must be polled; None: polling is not needed."""
        if self._quiesce_by < math.inf:
            return QUIESCE_CHECK_S
        return None if self._reporter is None else REPORT_S

    def _end_handoffs(self) -> None:
        """Let no process hand off from now on, as the supervisor does before it lets all processes drain.

        A serving process adopts what is in the queue as it drains, and then no more. A process that itself leaves, for
        example because another program has the sockets now, does not end hand-offs.
        """
        with suppress(OSError):
            self._handoff_queue.shutdown(socket.SHUT_WR)

    def _report_quiesced(self) -> None:
        """Report to the supervisor once no connection is accepted, and none is left that waits for a request.

        Wait for the latter at most QUIESCE_S.
        """
        probed = self._handing_off and self._admin_server is not None and self._admin_server.descriptors()
        if self._slot.state != "closed" or probed:
            return
        counts = self._server.statistics()
        if counts["open"] <= counts["running"] + counts["queued"] or monotonic() >= self._quiesce_by:
            self._quiesce_by = math.inf
            self._reported_quiesced = True
            self._channel.tell(QUIESCED)


class ProcessSignals(Signals):
    """The signals of any server, and RECALL."""

    NUMBERS = (*Signals.NUMBERS, RECALL)  # no effect if it serves: the order to leave comes as well


def run_process(context: SpawnContext) -> int:
    """Load the application, serve until ordered to end, and return the exit code. A user's mistake gets one line."""
    settings, slot = context.plan.settings, context.slot
    worker = Worker(context.number, os.getpid(), context.generation)
    name_worker(context.number, context.name)
    prepare_process(settings)
    try:
        context.plan.enter(settings)
        context.plan.arrive()
        identity = context.plan.identity
        if context.plan.umask is not None:
            os.umask(context.plan.umask)
        warm_up = None if settings.warmup is None else _import_warm_up()
        with Opened.of(settings, identity, tls=context.plan.tls) as opened:
            become(identity)
            reporter = None if context.reports is None else _make_reporter(context.reports)
            application, loads = _load(context, worker, reporter, warm_up and partial(warm_up, opened=opened))
            server = seat_server(
                application,
                settings,
                listeners=context.plan.listeners,
                seat=slot,
                handover=(context.handoff_queue[0].fileno(), context.handoff_queue[1].fileno()),
                opened=opened,
            )
        context.handoff_queue[0].close()
    except StartError as error:
        complain(error)
        return error.exit_code
    with ProcessSignals() as signals, AdminServer(settings, context.plan.admin, slot) as admin_server:
        own = (context.channel.fd, context.handoff_queue[1].fileno())
        main_thread = start_in_front(server, signals, lambda: [*own, *admin_server.descriptors()])
        slot.describe(context.name, settings.model, server.settings.threads, context.generation)
        slot.serve()
        context.channel.tell(READY if loads else f"{READY} {STANDS_IN}")
        if loads:
            call_hook(WORKER_READY, settings, worker)
        orders = SupervisorOrders(
            context.channel, server, slot, context.handoff_queue[1], reporter, admin_server=admin_server
        )
        outcome = run_until_told(server, main_thread, signals, orders)
        context.channel.tell(f"outcome {outcome.finished} {outcome.cut}")
        if loads:
            call_hook(WORKER_EXIT, settings, worker)
    outlive_handlers()
    outlive_signals(signal.SIGTERM)  # it would come too late now
    return CUT if outcome.cut else 0


def _make_reporter(reports: socket.socket) -> Reporter:
    from halfsync.supervisor.development.sources import Reporter  # noqa: PLC0415 - only development needs it

    return Reporter(reports)


def _import_warm_up() -> Callable[..., None]:
    """Return the function that requests `warmup`. Call it before the application is loaded and root is given up.

    The application may have modules with the same names as those that it needs, and the new user may not be allowed to
    read them.
    """
    with genuine():
        from halfsync.supervisor.warmup import warm_up  # noqa: PLC0415 - rarely used

    return warm_up


def _load(
    context: SpawnContext, worker: Worker, reporter: Reporter | None, warm_up: Callable[..., None] | None
) -> tuple[Application | StreamFactory, bool]:
    """Return the application, and True. In development, if it cannot be loaded, return what shows why, and False.

    Raises StartError.
    """
    failure = None
    try:
        call_hook(POST_FORK, context.plan.settings, worker)
        application = context.plan.load(context.plan.settings)
        if warm_up is not None:
            warm_up(application, context.plan.settings)
    except LoadError as error:
        if reporter is None:
            raise
        from halfsync.supervisor.development.error_page import stand_in  # noqa: PLC0415 - only a failure needs it

        complain(error)
        application, failure = stand_in(error, stream=context.plan.settings.stream), error
    if reporter is not None:
        reporter.tell(failure)
    return application, failure is None
