"""The listeners of `admin_bind`, and the engine that answers there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from halfsync.listening.listeners import close_all
from halfsync.listening.opening import open_listeners

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from halfsync.admin.admin_engine import AdminEngine
    from halfsync.listening.listeners import Listener
    from halfsync.settings import Settings
    from halfsync.shared.scoreboard import Slot

ADMIN_BACKLOG = 1024


def open_admin(settings: Settings) -> list[Listener]:
    """Open the listeners of `admin_bind`. Raises UsageError or BindError."""
    return open_listeners(
        settings.admin_bind, ADMIN_BACKLOG, unix_mode=settings.unix_mode, unix_owner=settings.unix_owner
    )


class AdminServer:
    """Answers questions about the server on these listeners, and closes them at the end. A context manager."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener], slot: Slot | None) -> None:
        self._listeners = listeners
        self._engine: AdminEngine | None = None
        if slot is not None and listeners:
            from halfsync.admin.admin_engine import AdminEngine  # noqa: PLC0415 - most servers have none

            self._engine = AdminEngine(
                settings, [listener.socket.fileno() for listener in listeners], slot.scoreboard
            )

    def __enter__(self) -> Self:
        if self._engine is not None:
            self._engine.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop_listening()
        if self._engine is not None:
            self._engine.close()

    def stop_listening(self) -> None:
        """Close the listeners: others answer from now on, and may need the addresses before this process ends."""
        if self._engine is not None:
            self._engine.stop_listening()
        close_all(self._listeners)

    def descriptors(self) -> list[int]:
        """Return the open descriptors, which a forked child must close: it would keep the addresses in use."""
        own = [listener.socket.fileno() for listener in self._listeners]
        return [fd for fd in own if fd >= 0] + ([] if self._engine is None else self._engine.descriptors)
