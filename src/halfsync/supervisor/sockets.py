"""The listening sockets of a server of several processes: opened once, and kept for as long as a plan names them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from halfsync.binds import has_any_port, parse_bind
from halfsync.listeners import open_listeners, refuse_shared, remove_file
from halfsync.originals import os

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from halfsync.listeners import Listener, UnixFile
    from halfsync.originals import socket
    from halfsync.settings import Settings


class Sockets:
    """The sockets that the supervisor owns, by the bind that names them.

    inherited: those of an old program that this one replaces; what no setting names is closed by `drop_inherited`.

    Both programs have the sockets then, but the files of unix sockets belong to one of them: `own` says to which. While
    a new program may go on to serve on a socket (`share`), it is not closed here, and its file stays.
    """

    def __init__(self, inherited: dict[str, list[Listener]] | None = None) -> None:
        self.listeners: dict[str, list[Listener]] = {}
        self._inherited = inherited or {}
        self._shared: frozenset[socket.socket] = frozenset()
        self._aside: dict[str, list[Listener]] = {}  # what no plan names, and another program has too
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
                    there = self._inherited.get(key) or self._aside.get(key)
                    opened = there or open_listeners(
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
        for key in new:
            self._aside.pop(key, None)
        return public, admin

    def keep(self, plans: Iterable[Settings]) -> None:
        """Close the sockets that none of these settings names, or put them aside if they are shared."""
        named = {
            key for settings in plans for key in (*settings.bind, *(key for key, _ in _admin_keys(settings)))
        }
        dropped = {bind: self.listeners.pop(bind) for bind in set(self.listeners) - named}
        self._aside |= {bind: some for bind, some in dropped.items() if self._is_shared(some)}
        self._close(dropped.values(), self._all())

    def drop_inherited(self) -> list[int]:
        """Close what was inherited and never asked for. Returns the descriptors."""
        kept = {listener.socket.fileno() for listener in self}
        inherited = [listener.socket.fileno() for some in self._inherited.values() for listener in some]
        self._close(self._inherited.values(), self)
        self._inherited = {}
        return [descriptor for descriptor in inherited if descriptor not in kept and descriptor >= 0]

    def share(self, shared: Iterable[socket.socket]) -> None:
        """Let another program have these, which may go on to serve on them, and no others.

        If no plan names one of them any more, it is put aside: open, for the other program's sake its file too, and a
        plan may name it again. What was put aside, and is shared no longer, is closed, and its file is removed.
        """
        self._shared = frozenset(shared)
        over = [bind for bind, some in self._aside.items() if not self._is_shared(some)]
        self._close([self._aside.pop(bind) for bind in over], self._all())

    def _is_shared(self, listeners: Iterable[Listener]) -> bool:
        return any(listener.socket in self._shared for listener in listeners)

    def own(self, process: int, sockets: Collection[socket.socket] | None = None) -> None:
        """Let this process be the one that removes the files of unix sockets: this one, or a program that has them too.

        sockets: those that the program has; None: all. Files whose sockets are closed here already are removed at once
        if they are this process's now.
        """
        for owned in (self.listeners, self._aside):
            for bind, some in owned.items():
                owned[bind] = [
                    _owned(one, process) if sockets is None or one.socket in sockets else one for one in some
                ]
        self._left = [replace(file, process=process) for file in self._left]
        if process == os.getpid():
            for file in self._left:
                remove_file(file)
            self._left = []

    def close(self) -> None:
        """Close all, shared or not."""
        everything = [*self.listeners.values(), *self._aside.values()]
        self.listeners, self._aside = {}, {}
        self._close(everything)

    def leave_behind(self, kept: Collection[Listener]) -> None:
        """Close all but those that are kept, in a process that was forked."""
        for listener in self._all():
            if listener not in kept:
                listener.close()

    def _all(self) -> list[Listener]:
        """Return all listeners, those that are put aside, and those that were inherited and not asked for yet."""
        groups = (self.listeners, self._aside, self._inherited)
        return [listener for group in groups for some in group.values() for listener in some]

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
