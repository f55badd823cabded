"""What a model is to its server: one small interface over all four."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halfsync.board import Seat
    from halfsync.bridging import Bridge
    from halfsync.observe.access import AccessLog
    from halfsync.settings import Settings
    from halfsync.static.answer import StaticFiles


class Model(Protocol):
    """Moves bytes and runs turns, from listening sockets to a bridge; knows neither HTTP nor WSGI.

    The server owns it, and calls its methods from one thread at a time.
    """

    @property
    def done_fd(self) -> int:
        """A descriptor that becomes readable when everything accepted before `drain` has been answered; -1: closed."""

    def start(self) -> None:
        """Begin to serve, once only, and return. Undoes what it began where it raises."""

    def start_in_front(self, unwanted: Sequence[int]) -> None:
        """As `start`, in a process that only serves and whose main thread calls `turn` when it is due.

        unwanted: descriptors that a forked child has no use for.
        """

    @property
    def watched(self) -> list[int]:
        """Descriptors that make a `turn` due when they become readable, beside the end of a child."""

    def timeout(self) -> float | None:
        """Return after how many seconds a `turn` is due in any case; None: never."""

    def turn(self) -> None:
        """Do what is due, if this model does anything in the main thread."""

    def fade(self) -> None:
        """Say Connection: close with each response from now on, and end each connection with it."""

    def drain(self) -> None:
        """Accept what waits in the backlog and nothing more, and finish what was received."""

    def leave(self) -> None:
        """Accept no more, since others do on the same listeners, and hand over each connection as it comes to rest.

        What cannot be handed over is served to its end here. `drain` may follow.
        """

    def stop(self) -> None:
        """Let everything end that waits for a client."""

    def close(self, timeout: float) -> bool:
        """Stop, and end all threads or processes. False: the application was still running after `timeout` seconds."""

    def statistics(self) -> dict[str, int]:
        """Return counts so far."""


HOMES = {
    "process": ("halfsync.models.process", "Process"),
    "thread": ("halfsync.models.thread", "ThreadPerConnection"),
    "pool": ("halfsync.models.pool", "Pool"),
    "proactor": ("halfsync.models.proactor", "Proactor"),
}


def make_model(
    settings: Settings,
    bridge: Bridge,
    listeners: Sequence[int],
    room: int,
    access_log: AccessLog | None,
    *,
    files: StaticFiles | None,
    seat: Seat | None = None,
    handover: tuple[int, int] | None = None,
) -> Model:
    """Make the model that the settings name. Only that one is loaded.

    listeners: descriptors of listening, non-blocking sockets. room: connections that fit into this process.
    files: what is answered without the bridge. seat: on the board of a server of several processes. handover: reading
    and writing end of the queue through which processes that leave hand over their connections; copies are made.
    """
    module, name = HOMES[settings.model]
    made: Model = getattr(import_module(module), name)(
        bridge, listeners, settings, room, access_log, files=files, seat=seat, handover=handover
    )
    return made
