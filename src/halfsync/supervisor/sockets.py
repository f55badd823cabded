"""The listening sockets of a server of several processes: opened once, and kept for as long as a plan names them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from halfsync.binds import has_any_port, parse_bind
from halfsync.listeners import open_listeners, refuse_shared, remove_file
from halfsync.originals import os

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from halfsync.listeners import Listener, UnixFile
    from halfsync.settings import Settings


class Sockets:
    """The sockets that the supervisor owns, by the bind that names them.

    inherited: those of an old program that this one replaces; what no setting names is closed by `drop_inherited`.

    Both programs have the sockets then, but the files of unix sockets belong to one of them: `own` says to which.
    """

    def __init__(self, inherited: dict[str, list[Listener]] | None = None) -> None:
        self.listeners: dict[str, list[Listener]] = {}
        self._inherited = inherited or {}
        self._left: list[UnixFile] = []  # of sockets that were closed here, and are another program's

    def __iter__(self) -> Iterator[Listener]:
        """Go through all listeners."""
        return (listener for some in self.listeners.values() for listener in some)

    def open(self, settings: Settings) -> tuple[list[Listener], list[Listener]]:
        """Return listeners for `bind` and for `admin_bind`; those that are open already stay as they are.

        Raises UsageError or BindError, and leaves nothing open that was not open before.
        """
        new: dict[str, list[Listener]] = {}
        for_probes = _admin_keys(settings)
        try:
            for key, bind in (*zip(settings.bind, settings.bind, strict=True), *for_probes):
                if key not in self.listeners:
                    opened = self._inherited.get(key) or open_listeners(
                        [bind], settings.backlog, unix_mode=settings.unix_mode, unix_owner=settings.unix_owner
                    )
                    new[key] = [self._known(listener) for listener in opened]
            known = self.listeners | new
            public = [listener for bind in settings.bind for listener in known[bind]]
            admin = [listener for key, _ in for_probes for listener in known[key]]
            refuse_shared(public, admin, origin=settings.origins.get("admin_bind", ""))
        except BaseException:
            self._close(new.values(), self._all())
            raise
        self.listeners = known
        return public, admin

    def keep(self, plans: Iterable[Settings]) -> None:
        """Close the sockets that none of these settings names."""
        named = {
            key for settings in plans for key in (*settings.bind, *(key for key, _ in _admin_keys(settings)))
        }
        dropped = [self.listeners.pop(bind) for bind in set(self.listeners) - named]
        self._close(dropped, self)

    def drop_inherited(self) -> list[int]:
        """Close what was inherited and never asked for. Returns the descriptors."""
        kept = {listener.socket.fileno() for listener in self}
        inherited = [listener.socket.fileno() for some in self._inherited.values() for listener in some]
        self._close(self._inherited.values(), self)
        self._inherited = {}
        return [descriptor for descriptor in inherited if descriptor not in kept]

    def own(self, process: int) -> None:
        """Let this process be the one that removes the files of unix sockets: this one, or a program that has them too.

        Files whose sockets are closed here already are removed at once if they are this process's now.
        """
        self.listeners = {
            bind: [_owned(listener, process) for listener in some] for bind, some in self.listeners.items()
        }
        self._left = [replace(file, process=process) for file in self._left]
        if process == os.getpid():
            for file in self._left:
                remove_file(file)
            self._left = []

    def close(self) -> None:
        """Close all."""
        self._close(self.listeners.values())

    def _all(self) -> list[Listener]:
        """Return all listeners, and those that were inherited and not asked for yet."""
        return [
            listener for some in (*self.listeners.values(), *self._inherited.values()) for listener in some
        ]

    def _known(self, listener: Listener) -> Listener:
        """Return the listener that there is of this descriptor already, under another name; else this one."""
        for other in self._all():
            if other.socket is not listener.socket and other.socket.fileno() == listener.socket.fileno():
                listener.socket.detach()
                return other
        return listener

    def _close(self, listeners: Iterable[list[Listener]], kept: Iterable[Listener] = ()) -> None:
        """Close listeners, but for those that are kept under another name."""
        stay = list(kept)
        with ExitStack() as stack:  # if one close fails, the others are still done
            for some in listeners:
                for listener in some:
                    if listener in stay:
                        continue
                    if listener.file is not None and listener.file.process != os.getpid():
                        self._left.append(listener.file)
                    stack.callback(listener.close)


def _admin_keys(settings: Settings) -> list[tuple[str, str]]:
    """Return what the listeners of each `admin_bind` are known by, and that bind.

    The bind itself, unless it stands for any port: `bind` may be the same then, and has another port.
    """
    return [
        (f"{bind} for probes" if has_any_port(parse_bind(bind)) else bind, bind)
        for bind in settings.admin_bind
    ]


def _owned(listener: Listener, process: int) -> Listener:
    return replace(listener, file=None if listener.file is None else replace(listener.file, process=process))
