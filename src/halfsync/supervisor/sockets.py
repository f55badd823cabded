"""The listening sockets of a server of several processes: opened once, and kept for as long as a plan names them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from halfsync.listeners import open_listeners

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from halfsync.listeners import Listener
    from halfsync.settings import Settings


class Sockets:
    """The sockets that the supervisor owns, by the bind that names them.

    inherited: those of an old program that this one replaces; what no setting names is closed by `drop_inherited`.
    """

    def __init__(self, inherited: dict[str, list[Listener]] | None = None) -> None:
        self.listeners: dict[str, list[Listener]] = {}
        self._inherited = inherited or {}

    def __iter__(self) -> Iterator[Listener]:
        """Go through all listeners."""
        return (listener for some in self.listeners.values() for listener in some)

    def open(self, settings: Settings) -> tuple[list[Listener], list[Listener]]:
        """Return listeners for `bind` and for `admin_bind`; those that are open already stay as they are.

        Raises UsageError or BindError, and leaves nothing open that was not open before.
        """
        new: dict[str, list[Listener]] = {}
        try:
            for bind in (*settings.bind, *settings.admin_bind):
                if bind not in self.listeners:
                    new[bind] = self._inherited.pop(bind, []) or open_listeners(
                        [bind], settings.backlog, unix_mode=settings.unix_mode, unix_owner=settings.unix_owner
                    )
        except BaseException:
            _close(new.values())
            raise
        self.listeners |= new
        public, admin = (
            [listener for bind in binds for listener in self.listeners[bind]]
            for binds in (settings.bind, settings.admin_bind)
        )
        return public, admin

    def keep(self, plans: Iterable[Settings]) -> None:
        """Close the sockets that none of these settings names."""
        named = {bind for settings in plans for bind in (*settings.bind, *settings.admin_bind)}
        _close([self.listeners.pop(bind) for bind in set(self.listeners) - named])

    def drop_inherited(self) -> list[int]:
        """Close what was inherited and never asked for. Returns the descriptors."""
        dropped = [listener.socket.fileno() for some in self._inherited.values() for listener in some]
        _close(self._inherited.values())
        self._inherited = {}
        return dropped

    def disown(self) -> None:
        """Leave the files of unix sockets to another program, which has the sockets too."""
        self.listeners = {
            bind: [replace(listener, file=None) for listener in some] for bind, some in self.listeners.items()
        }

    def close(self) -> None:
        """Close all."""
        _close(self.listeners.values())


def _close(listeners: Iterable[list[Listener]]) -> None:
    with ExitStack() as stack:  # if one close fails, the others are still done
        for some in listeners:
            for listener in some:
                stack.callback(listener.close)
