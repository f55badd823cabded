"""Which program owns what while one takes the place of another (SIGUSR2): decisions/0026 has a table.

The old program owns everything until *the passing*. It decides on that moment: the new program has said that it serves,
and the old one has not been told to end. Until then the new program does not remove or write files of the old one, nor
notify the service manager. A program may be the new one and the old one at once, so what it was given and what it gives
are separate here.

It is one state machine over three programs, and each of its steps reads most of its state, so it is one file.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from halfsync.errors import StartError, reason_of
from halfsync.host.pidfile import move_pidfile
from halfsync.log import logger
from halfsync.runtime.originals import monotonic, os, signal
from halfsync.supervisor.children import KILL_AFTER_S
from halfsync.supervisor.fleet import FleetState
from halfsync.supervisor.programs import DROPS
from halfsync.supervisor.relay import Relay
from halfsync.supervisor.upgrade import start_successor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from halfsync.host.directory import StartDirectory
    from halfsync.host.notify import Notifier
    from halfsync.host.pidfile import PidFile
    from halfsync.runtime.originals import socket
    from halfsync.supervisor.fleet import Fleet
    from halfsync.supervisor.process_table import ProcessTable
    from halfsync.supervisor.programs import Predecessor, Successor
    from halfsync.supervisor.sockets import Sockets

AGAIN_S = 0.05  # pause before another look or try, if no event tells when

# The words of the two programs.
LISTENS = "listens"  # from the new one: it reads words from now on, and has preloaded if it preloads
SERVES = "serves"  # from the new one: all its processes serve
OFF = "off"  # from the new one: it will take nothing over; from the old one: agreed
YOURS = "yours"  # from the old one: the passing
TAKEN = "taken"  # from the new one: it has written its pidfile
ON = "on"  # from the new one: it starts a third, which owns everything if the new one is killed
DRAIN, QUIT = "drain", "quit"  # from the owner: the service ends, and how


class TakeoverRole(Enum):
    """Whether this program owns the files, the service manager and the clients that it shares with another one."""

    HEIR = "the program before it owns them"
    OWNER = "it owns them"
    RETIRED = "it has passed them on"


class Takeover:
    """A program's state between its predecessor and its successor. Owned by the supervisor's thread.

    predecessor: what the program before this one has given; None: there is none. start, umask and ignored: the
    directory, the umask and the ignored signals with which this program was started, and with which the next one is
    started. Call `attach` before everything except `write_pidfile` and `close`. A method that raises is called again,
    and goes on where it was (see `Containment`).
    """

    def __init__(
        self,
        predecessor: Predecessor | None,
        *,
        notifier: Notifier,
        sockets: Sockets,
        start: StartDirectory,
        umask: int,
        ignored: Collection[int],
    ) -> None:
        self.role = TakeoverRole.OWNER if predecessor is None else TakeoverRole.HEIR
        self._predecessor = predecessor
        self._successor: Successor | None = None
        self._notifier = notifier
        self._sockets = sockets
        self._start = start
        self._umask = umask
        self._ignored = ignored
        self._pidfile: PidFile | None = None
        self._relay: Relay | None = None
        self._takes = False  # the passing has come, and this program must carry it out
        self._passes = False
        self._withdraws = False  # it was told to end before it owned anything
        self._was_told = False  # it got SIGTERM itself
        self._drains = False  # because of another program
        self._ending = ""  # how this service ends, if it does
        self._end_by = math.inf
        if predecessor is not None:
            notifier.hold()

    def write_pidfile(self, file: PidFile | None) -> None:
        """Write the pidfile that the settings name; an heir only checks that it can. Raises UsageError."""
        self._pidfile = file
        if self._pidfile is None:
            return
        if self.role is TakeoverRole.HEIR:
            self._pidfile.check()
        else:
            self._pidfile.write()

    def move_pidfile(self, file: PidFile | None) -> None:
        """Use this pidfile, which new settings name, from now on. An heir writes it at the passing."""
        if self.role is TakeoverRole.OWNER:
            self._pidfile = move_pidfile(self._pidfile, file)
        elif self.role is TakeoverRole.HEIR:
            self._pidfile = file

    def drop(self, descriptors: list[int]) -> None:
        """Tell the predecessor on which of its listeners this program does not accept."""
        for descriptor in descriptors:
            assert self._predecessor is not None
            self._predecessor.tell(f"{DROPS} {descriptor}")

    def other_accepts(self, listener: socket.socket) -> bool:
        """Return whether the program that goes on serving, while this one's processes leave, accepts on a listener."""
        other = self._predecessor if self.role is TakeoverRole.HEIR else self._successor
        return other is None or other.accepts(listener)

    def attach(self, fleet: Fleet, processes: ProcessTable, drain: Callable[[], None]) -> None:
        """Set the processes of this program. drain: begins to end the whole program."""
        self._fleet = fleet
        self._processes = processes
        self._drain = drain

    @property
    def descriptors(self) -> list[int]:
        """The sockets between this program and its predecessor."""
        return [] if self._predecessor is None else self._predecessor.descriptors

    @property
    def fds(self) -> list[int]:
        """Descriptors that become readable when there is something for `turn`."""
        predecessor = (
            []
            if self._predecessor is None or self._predecessor.channel.lost
            else [self._predecessor.channel.fd]
        )
        successor = [] if self._successor is None else self._successor.fds
        return [*predecessor, *successor, *([] if self._relay is None else self._relay.fds)]

    def due(self) -> float:
        """Return when `turn` must be called at the latest; infinity: not before something happens."""
        if self._passes:
            return -math.inf
        waits = self._relay is not None and self._relay.waits
        for other in (self._predecessor, self._successor):
            waits = waits or (other is not None and other.channel.is_full)
        return min(self._end_by, monotonic() + AGAIN_S) if waits else self._end_by

    # Called by the supervisor.

    def begin(self, config: str | None) -> None:
        """Start this program again with the same sockets, and go on until the new one serves.

        config: the file of the settings that count; None: there was none.
        """
        busy = self.role is not TakeoverRole.OWNER or self._takes or self._successor is not None
        if busy or self._fleet.state is not FleetState.SERVING:
            logger().warning("upgrade ignored: another is under way, or the server is shutting down")
            return
        if os.getpid() == 1:
            logger().error("upgrade refused: the system ends with process 1; start another server beside it")
            return
        if self._predecessor is not None:
            self._predecessor.tell(ON)
        try:
            self._successor = start_successor(
                self._sockets.listeners,
                self._sockets.passed,
                self._processes.handoff_queue,
                start=self._start,
                umask=self._umask,
                ignored=self._ignored,
                config=config,
                variables=self._notifier.variables_for,
            )
        except OSError as error:
            logger().error("the upgrade failed: %s", reason_of(error))
            return
        self._sockets.share(self._successor.given.values())
        logger().info("upgrading: process %d starts with the same sockets", self._successor.pid)

    def settled(self) -> None:
        """Note that all processes of this program serve."""
        if self.role is TakeoverRole.HEIR and not self._withdraws and self._fleet.state is FleetState.SERVING:
            assert self._predecessor is not None
            self._predecessor.tell(SERVES)

    def takes_term(self) -> bool:
        """Handle a SIGTERM. Return False if it is for the fleet, and ends the service.

        The first SIGTERM to an heir calls the upgrade off. The first one to a program that ends already, because
        another one serves or was told to end, changes nothing: a service manager sends it to all.
        """
        first, self._was_told = not self._was_told, True
        if self.role is TakeoverRole.HEIR and self._fleet.state is FleetState.SERVING:
            self._withdraws = True
            if not first:
                self._fleet.quit()
            return True
        ends_already = self.role is TakeoverRole.RETIRED or self._drains
        if first and ends_already:
            logger().info(
                "already shutting down, and finishing what was received; a second SIGTERM ends it now"
            )
        return first and ends_already

    def reaped(self, pid: int) -> None:
        """Note that a child that is not a serving process has ended."""
        if self._successor is not None and pid == self._successor.intermediary:
            self._successor.intermediary = 0

    # A turn of the supervisor's loop.

    def turn(self) -> None:
        """Read what the other programs say, and act on it."""
        if self._predecessor is not None:
            self._predecessor.tell(LISTENS)
            self._predecessor.listen()
            self._follow(self._predecessor)
        if self._successor is not None:
            self._successor.listen()
            self._lead(self._successor)
        self._tell_ending()
        if self._relay is not None:
            self._relay.move()
            if self._relay.over and self._predecessor is not None and self._predecessor.channel.lost:
                self._close_predecessor()

    def _follow(self, predecessor: Predecessor) -> None:
        """Do what the old program says. If it is lost without a word, it was killed, and this one owns everything."""
        if self.role is TakeoverRole.HEIR:
            if YOURS in predecessor.heard or predecessor.channel.lost:
                self.role, self._takes = TakeoverRole.OWNER, True
            elif QUIT in predecessor.heard:
                self._fleet.quit()
            elif DRAIN in predecessor.heard and not self._drains:
                self._drain_too()
            elif self._withdraws and self._fleet.state is FleetState.SERVING:
                self._withdraw(predecessor)
        if self._takes:
            self._take(predecessor)
            self._takes = False
            if self._withdraws:
                self._drain_too()

    def _withdraw(self, predecessor: Predecessor) -> None:
        """Call the upgrade off once the old program has agreed: it may have decided on the passing already."""
        predecessor.tell(OFF)
        if OFF not in predecessor.heard:
            return
        logger().info("the upgrade is cancelled: handing connections back to the old program")
        self._relay = Relay(self._processes.handoff_queue[0], predecessor.handoff_queue[1])
        self._fleet.retire(monotonic())

    def _drain_too(self) -> None:
        """Drain: no other program takes this one's connections."""
        self._drains = True
        if self._fleet.state is FleetState.SERVING:
            self._drain()
        else:
            self._fleet.keep()

    def _take(self, predecessor: Predecessor) -> None:
        """Take over what the old program owned."""
        self._sockets.own(os.getpid())
        if self._pidfile is not None and self._fleet.state is FleetState.SERVING and not self._withdraws:
            try:
                self._pidfile.write()
            except StartError as error:
                logger().error("%s", error)
        if self._relay is not None:
            self._relay.close()
        self._relay = Relay(predecessor.handoff_queue[0], self._processes.handoff_queue[1])
        predecessor.handoff_queue[1].close()  # so that the queue ends with the old program's processes
        killed = YOURS not in predecessor.heard
        self._notifier.release(main=killed)
        predecessor.tell(TAKEN)
        why = "which was killed" if killed else "which is shutting down"
        logger().info(
            "this program is the server now: it has taken over from process %d, %s", predecessor.pid, why
        )

    def _lead(self, successor: Successor) -> None:
        """Decide on the passing; after it, do what the new program says. Note the end of the new program."""
        if self.role is TakeoverRole.OWNER and self._fleet.state is FleetState.SERVING:
            self._divide(successor)
            if OFF in successor.heard:
                successor.tell(OFF)
            elif SERVES in successor.heard and not successor.channel.lost:
                successor.release()
                if not successor.intermediary:
                    self.role, self._passes = TakeoverRole.RETIRED, True
        if self._passes and self._fleet.state is FleetState.SERVING:
            # First this program's processes, then the new program: they leave even if this one is killed in between.
            self._sockets.own(successor.pid, successor.given.values())
            self._fleet.retire(monotonic())
        elif self._passes:
            self._pass(successor)
            self._passes = False
        if self.role is TakeoverRole.RETIRED:
            if QUIT in successor.heard:
                self._fleet.quit()
            elif DRAIN in successor.heard and not self._drains:
                self._drain_too()
        if successor.is_over:
            self._note_end(successor)

    def _divide(self, successor: Successor) -> None:
        """Tell the new program on which shared listeners this one does not accept, and note on which the new one does.

        A reload here may drop a listener that the new program was given, and goes on serving on.
        """
        accepting = {listener.socket for listener in self._sockets}
        for descriptor, listener in successor.given.items():
            if listener not in accepting:
                successor.tell(f"{DROPS} {descriptor}")
        leaves = OFF in successor.heard
        self._sockets.share(() if leaves else set(successor.given.values()) - successor.dropped)

    def _pass(self, successor: Successor) -> None:
        """Pass everything on to the new program, which serves. The processes of this one leave."""
        self._notifier.pass_on(successor.pid)
        successor.tell(YOURS)
        logger().info(
            "process %d has taken over: this program and its processes are shutting down", successor.pid
        )

    def _note_end(self, successor: Successor) -> None:
        """Note that the new program has ended. After the passing this one cannot go on: it finishes what it has."""
        code = successor.code
        if self.role is TakeoverRole.RETIRED:
            logger().warning(
                "process %d, which had taken over, has ended: finishing what was received",
                successor.pid,
            )
            if ON not in successor.heard:
                self._sockets.own(os.getpid())
            self._drain_too()
        elif self._fleet.state is FleetState.SERVING:
            off = code == 0 or OFF in successor.heard
            log, what = (logger().warning, "is cancelled") if off else (logger().error, "failed")
            how = "" if code is None else f" with {code}"
            log("the upgrade %s: the new program ended%s; this one keeps serving", what, how)
        self._sockets.share(())
        successor.close()
        self._successor = None

    # The end.

    def _tell_ending(self) -> None:
        """Tell the other programs that the service ends, if this program may decide that."""
        state, predecessor, successor = self._fleet.state, self._predecessor, self._successor
        if state is not FleetState.SERVING and self._ending != QUIT:
            quits = state is FleetState.QUITTING or (state is FleetState.OVER and not self._ending)
            self._ending = QUIT if quits else DRAIN
        if not self._ending:
            return
        if self.role is TakeoverRole.HEIR:
            if predecessor is not None and SERVES in predecessor.told:
                predecessor.tell(OFF)
        elif self.role is TakeoverRole.OWNER:
            for other in (predecessor, successor):
                if other is not None:
                    other.tell(self._ending)
            if successor is not None and (self._ending == QUIT or LISTENS not in successor.heard):
                self._end_too(successor)
        elif predecessor is not None and (self._drains or self._ending == QUIT):
            # The service goes on with the successor of a retired program, unless that has said that it quits.
            predecessor.tell(self._ending if successor is None or QUIT in successor.heard else DRAIN)

    def _end_too(self, successor: Successor) -> None:
        """End a new program that may not listen yet. One that listens has got a word instead."""
        if not successor.stopped:
            successor.stopped = True
            successor.kill(signal.SIGTERM)

    def may_end(self) -> bool:
        """Return whether this program may end, once its processes have. It waits, a limited time, if others need it."""
        now = monotonic()
        if self._end_by == math.inf:
            self._end_by = (
                now
                + KILL_AFTER_S
                + (0 if self._ending == QUIT else self._fleet.fleet_settings.graceful_timeout)
            )
        if self._ending == QUIT:
            self._end_by = min(self._end_by, now + KILL_AFTER_S)
        if self._is_needed() and now < self._end_by:
            return False
        if self.role is TakeoverRole.OWNER and self._successor is not None:
            logger().error("killing process %d: it has not ended in time", self._successor.pid)
            self._successor.kill(signal.SIGKILL)
        return True

    def hurry(self) -> None:
        """Stop waiting for the other programs: their requests are cut off."""
        self._ending = QUIT
        self._end_by = monotonic() + AGAIN_S

    def _is_needed(self) -> bool:
        """Return whether the end of this program would harm another one, or leave something undone."""
        predecessor, successor = self._predecessor, self._successor
        if self.role is TakeoverRole.HEIR:
            assert predecessor is not None
            unanswered = SERVES in predecessor.told and not predecessor.heard & {OFF, YOURS, DRAIN, QUIT}
            return not predecessor.channel.lost and (
                unanswered or (self._relay is not None and not self._relay.is_empty)
            )
        if predecessor is not None and not predecessor.channel.lost:
            return True  # it ends with the service, or hands off connections that this one relays
        if self.role is TakeoverRole.OWNER:
            return successor is not None
        if predecessor is not None:
            return True  # its processes still hand off
        return successor is not None and not successor.channel.lost and TAKEN not in successor.heard

    def _close_predecessor(self) -> None:
        assert self._predecessor is not None
        if self._relay is not None:
            self._relay.close()
        self._predecessor.close()
        self._predecessor = self._relay = None

    def close_in_fork(self) -> None:
        """Close what is the supervisor's, in a forked process."""
        if self._relay is not None:
            self._relay.close()
        if self._predecessor is not None:
            self._predecessor.close()
        if self._successor is not None:
            self._successor.close()

    def close(self) -> None:
        """Remove the pidfile, unless the new program is about to write it."""
        successor = self._successor
        about_to = (
            self.role is TakeoverRole.RETIRED and successor is not None and TAKEN not in successor.heard
        )
        if self._pidfile is not None and not about_to:
            self._pidfile.remove()
