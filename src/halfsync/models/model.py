"""The interface that all four models have for their server, and the parts that each is made of."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from halfsync.exchange.bridging import Bridge
    from halfsync.http.trust import TrustedPeers
    from halfsync.listening.endpoints import Endpoints
    from halfsync.observe.access import AccessLog
    from halfsync.observe.refusals import RefusalLog
    from halfsync.observe.watcher import Watcher
    from halfsync.settings import Settings
    from halfsync.shared.scoreboard import Slot
    from halfsync.static.static_files import StaticFiles
    from halfsync.transport.profiles import Profiles


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server gives its model. The server keeps its descriptors: the model makes copies.

    listeners: descriptors of listening, non-blocking sockets. endpoints: their addresses. room: connections that
    fit into this process. trusted: the proxies whose fields are believed; None: none are. refusals: the log of
    refusals; None: they are not logged. files: the files that are answered without the bridge. slot: this process's
    slot on the scoreboard, if the server has several processes. handoff_queue: reading and writing end of the queue
    through which processes hand off their connections. close_server_sockets: closes the server's own listeners;
    called in a forked process of the model, which does not need them. watcher: reads the stacks of workers; None:
    nothing needs them. The server starts it, but a model whose processes are forked starts one in each. profiles: the
    transport of each listener; None: all have plain sockets.
    """

    bridge: Bridge
    listeners: Sequence[int]
    endpoints: Endpoints
    settings: Settings
    room: int
    trusted: TrustedPeers | None = None
    access_log: AccessLog | None = None
    refusals: RefusalLog | None = None
    files: StaticFiles | None = None
    watcher: Watcher | None = None
    slot: Slot | None = None
    handoff_queue: tuple[int, int] | None = None
    close_server_sockets: Callable[[], None] = lambda: None
    profiles: Profiles | None = None

    @property
    def adoption_fd(self) -> int:
        """The descriptor from which connections to adopt come; -1: none do.

        A server of streams that listens adopts none, since handlers cannot be moved. One that does not listen adopts
        connections that no process has served yet.
        """
        return (
            -1
            if self.handoff_queue is None or (self.bridge.raw and self.listeners)
            else self.handoff_queue[0]
        )

    @property
    def handoff_fd(self) -> int:
        """The descriptor through which connections are handed off; -1: they are not. Those of a stream never are."""
        return -1 if self.handoff_queue is None or self.bridge.raw else self.handoff_queue[1]


class Turns(Protocol):
    """What a model does in the main thread."""

    @property
    def watched(self) -> list[int]:
        """Descriptors that make a `turn` due when they become readable. The end of a child does too."""

    def timeout(self) -> float | None:
        """Return the seconds after which a `turn` is due in any case, or None."""

    def turn(self) -> None:
        """Do what is due."""


class MainThread:
    """What is left to the main thread of a process that only serves: wait for `watched`, and call `turn`."""

    def __init__(self, model: Model, turns: Turns | None) -> None:
        self._model = model
        self._turns = turns

    @property
    def watched(self) -> list[int]:
        """Descriptors that become readable when a `turn` is due, or the model has answered everything."""
        return [self._model.done_fd, *([] if self._turns is None else self._turns.watched)]

    def timeout(self) -> float | None:
        """Return the seconds after which a `turn` is due in any case, or None."""
        return None if self._turns is None else self._turns.timeout()

    def turn(self) -> None:
        """Do what is due."""
        if self._turns is not None:
            self._turns.turn()


class Model(Protocol):
    """Moves bytes between listening sockets and a bridge, and runs its turns; knows neither HTTP nor WSGI.

    The server owns it, and calls its methods from one thread at a time.
    """

    @property
    def done_fd(self) -> int:
        """A descriptor that becomes readable once everything accepted before `drain` is answered; -1: closed."""

    def start(self, unwanted: Callable[[], Sequence[int]] | None = None) -> Turns | None:
        """Begin to serve, and return. Called once only. If it raises, it has undone what it began.

        unwanted: given if this process only serves, so that the model may use the main thread. It then returns what is
        left to do there, or None. unwanted is called in a forked child, and returns descriptors that the child must
        close.
        """

    def close_keepalives(self) -> None:
        """Send Connection: close with each response from now on, and end the connection with it."""

    def drain(self) -> None:
        """Accept what waits in the backlog, then stop accepting, and finish what was received."""

    def hand_off(self, exclusive: Iterable[int]) -> None:
        """Stop accepting, and hand off connections as they become idle. Others accept on the same listeners.

        exclusive: positions of listeners on which no other process accepts: their backlog is accepted first. A
        connection that cannot be handed off is served here to its end. `drain` may follow.
        """

    def stop(self) -> None:
        """End everything that waits for a client."""

    def close(self, timeout: float | None) -> bool:
        """Stop, and end all threads or processes. False: the application was still running after `timeout` seconds.

        timeout: None waits without limit. A further call continues, even if a signal handler has raised in the first.
        """

    def statistics(self) -> dict[str, int]:
        """Return the counts so far."""


MODEL_CLASSES = {
    "process": ("halfsync.models.process", "Process"),
    "thread": ("halfsync.models.thread", "ThreadPerConnection"),
    "pool": ("halfsync.models.pool", "Pool"),
    "proactor": ("halfsync.models.proactor", "Proactor"),
}


def make_model(parts: Parts) -> Model:
    """Return the model that the settings name. Only its module is loaded."""
    module, name = MODEL_CLASSES[parts.settings.model]
    made: Model = getattr(import_module(module), name)(parts)
    return made
