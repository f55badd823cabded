"""What a model is to its server: one small interface over all four, and what each is made of."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from halfsync.exchange.bridging import Bridge
    from halfsync.listening.endpoints import Endpoints
    from halfsync.observe.access import AccessLog
    from halfsync.observe.refusals import RefusalLog
    from halfsync.settings import Settings
    from halfsync.shared.scoreboard import Slot
    from halfsync.static.answer import StaticFiles


@dataclass(frozen=True, slots=True)
class Parts:
    """What a server puts together for its model. Descriptors stay the server's: the model makes copies.

    listeners: descriptors of listening, non-blocking sockets. endpoints: their addresses. room: connections that fit
    into this process. refusals: where to say why something is refused; None: nowhere. files: what is answered without
    the bridge. slot: on the scoreboard of a server of several processes.
    handoff_queue: reading and writing end of the queue through which processes that leave hand off their connections.
    close_server_sockets: closes the server's own listeners; called in a forked process of the model, which has no use
    for them.
    """

    bridge: Bridge
    listeners: Sequence[int]
    endpoints: Endpoints
    settings: Settings
    room: int
    access_log: AccessLog | None = None
    refusals: RefusalLog | None = None
    files: StaticFiles | None = None
    slot: Slot | None = None
    handoff_queue: tuple[int, int] | None = None
    close_server_sockets: Callable[[], None] = lambda: None

    @property
    def adoption_fd(self) -> int:
        """Where connections to adopt come from; -1: none do.

        A server of streams that listens adopts none: handlers cannot be moved. One that listens nowhere adopts
        connections that nobody has served yet.
        """
        return (
            -1
            if self.handoff_queue is None or (self.bridge.raw and self.listeners)
            else self.handoff_queue[0]
        )

    @property
    def handoff_fd(self) -> int:
        """Where connections are handed off to when the server leaves; -1: nowhere. Never those of a stream."""
        return -1 if self.handoff_queue is None or self.bridge.raw else self.handoff_queue[1]


class Model(Protocol):
    """Moves bytes and runs turns, from listening sockets to a bridge; knows neither HTTP nor WSGI.

    The server owns it, and calls its methods from one thread at a time.
    """

    @property
    def done_fd(self) -> int:
        """A descriptor that becomes readable when everything accepted before `drain` has been answered; -1: closed."""

    def start(self) -> None:
        """Begin to serve, once only, and return. Undoes what it began where it raises."""

    def start_in_front(self, unwanted: Callable[[], Sequence[int]]) -> None:
        """As `start`, in a process that only serves and whose main thread calls `turn` when it is due.

        unwanted: called in a forked child, returns descriptors that it has no use for.
        """

    @property
    def watched(self) -> list[int]:
        """Descriptors that make a `turn` due when they become readable, beside the end of a child."""

    def timeout(self) -> float | None:
        """Return after how many seconds a `turn` is due in any case; None: never."""

    def turn(self) -> None:
        """Do what is due, if this model does anything in the main thread."""

    def close_keepalives(self) -> None:
        """Say Connection: close with each response from now on, and end each connection with it."""

    def drain(self) -> None:
        """Accept what waits in the backlog and nothing more, and finish what was received."""

    def hand_off(self, exclusive: Iterable[int]) -> None:
        """Accept no more, since others do on the same listeners, and hand off each connection as it comes to rest.

        exclusive: positions of listeners on which nobody else accepts: their backlog is accepted first.
        What cannot be handed off is served to its end here. `drain` may follow.
        """

    def stop(self) -> None:
        """Let everything end that waits for a client."""

    def close(self, timeout: float | None) -> bool:
        """Stop, and end all threads or processes. False: the application was still running after `timeout` seconds.

        None: wait as long as it takes. Called again it goes on, also after a signal's handler has raised in it.
        """

    def statistics(self) -> dict[str, int]:
        """Return counts so far."""


MODEL_CLASSES = {
    "process": ("halfsync.models.process", "Process"),
    "thread": ("halfsync.models.thread", "ThreadPerConnection"),
    "pool": ("halfsync.models.pool", "Pool"),
    "proactor": ("halfsync.models.proactor", "Proactor"),
}


def make_model(parts: Parts) -> Model:
    """Make the model that the settings name. Only that one is loaded."""
    module, name = MODEL_CLASSES[parts.settings.model]
    made: Model = getattr(import_module(module), name)(parts)
    return made
