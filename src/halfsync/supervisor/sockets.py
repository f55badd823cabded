"""The listening sockets of a server with several processes: opened once, and kept for as long as a plan names them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from halfsync.listening.activation import find_sockets
from halfsync.listening.binds import has_any_port, is_secure, parse_bind, socket_file, split_scheme
from halfsync.listening.listeners import Made, refuse_shared, remove_file
from halfsync.listening.opening import open_listeners
from halfsync.runtime.originals import os

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from halfsync.listening.listeners import Listener, UnixFile
    from halfsync.runtime.originals import socket
    from halfsync.settings import Settings

UNIX = "unix:"


class Sockets:
    """The sockets that the supervisor owns, by name: see `names_of`.

    inherited: those of an old program that this one replaces; `drop_inherited` closes those that no setting names.
    passed: the sockets that the first of these programs was started with, by descriptor; None: those of this program.

    Both programs have the inherited sockets, but the files of unix sockets belong to one program: `own` says to which.
    While a new program may go on serving on a socket (`share`), the socket is not closed here, and its file stays.
    """

    def __init__(
        self, inherited: dict[str, list[Listener]] | None = None, passed: Mapping[int, int] | None = None
    ) -> None:
        self.passed = find_sockets() if passed is None else passed
        self.listeners: dict[str, list[Listener]] = {}
        self._inherited = inherited or {}
        self._shared: frozenset[socket.socket] = frozenset()
        self._aside: dict[str, list[Listener]] = {}  # that no plan names, but another program has too
        self._left: list[UnixFile] = []  # of sockets that were closed here, and are another program's

    def __iter__(self) -> Iterator[Listener]:
        """Iterate over all listeners."""
        return (listener for some in self.listeners.values() for listener in some)

    def open(self, settings: Settings) -> tuple[list[Listener], list[Listener], set[str]]:
        """Return the listeners for `bind` and for `admin_bind`, and the names of all. Open ones are used unchanged.

        Raises UsageError or BindError, and then leaves nothing open that was not open before.
        """
        new: dict[str, list[Listener]] = {}
        for_all, for_probes = _name_binds(settings)
        try:
            for name, bind in (*for_all, *for_probes):
                if name not in self.listeners:
                    there = self._inherited.get(name) or self._aside.get(name) or self._find_moved(name)
                    new[name] = [
                        self._known(listener) for listener in there or self._open(bind, _made_by(settings))
                    ]
            known = self.listeners | new
            secure = bool(settings.certfile)
            public = [
                listener.secured(is_secure(bind, secure))
                for name, bind in for_all
                for listener in known[name]
            ]
            admin = [listener for name, _ in for_probes for listener in known[name]]
            refuse_shared(public, admin, origin=settings.origins.get("admin_bind", ""))
        except BaseException:
            self._close(new.values(), self._all())
            raise
        self.listeners = known
        for name in new:
            self._aside.pop(name, None)
        return public, admin, {name for name, _ in (*for_all, *for_probes)}

    def _open(self, bind: str, by: Made) -> list[Listener]:
        opened = open_listeners(
            [bind], by.backlog, unix_mode=by.unix_mode, unix_owner=by.unix_owner, passed=self.passed
        )
        return [replace(listener, made=by) for listener in opened]

    def unapplied(self, settings: Settings) -> list[str]:
        """Return the names of the settings whose values do not apply to the open sockets."""
        wanted, found = _made_by(settings), set()
        for listener in (one for name in names_of(settings) for one in self.listeners.get(name, ())):
            counting = ("backlog",) if listener.file is None else Made._fields
            made = listener.made or wanted
            found |= {name for name in counting if getattr(made, name) != getattr(wanted, name)}
        return [name for name in Made._fields if name in found]

    def keep(self, names: Iterable[str]) -> None:
        """Close the sockets that have none of these names, or put them aside if they are shared."""
        dropped = {name: self.listeners.pop(name) for name in set(self.listeners).difference(names)}
        self._aside |= {name: some for name, some in dropped.items() if self._is_shared(some)}
        self._close(dropped.values(), self._all())

    def drop_inherited(self) -> list[int]:
        """Close inherited listeners that no setting names, and return their descriptors."""
        kept = {listener.socket.fileno() for listener in self}
        inherited = [listener.socket.fileno() for some in self._inherited.values() for listener in some]
        self._close(self._inherited.values(), self)
        self._inherited = {}
        return [descriptor for descriptor in inherited if descriptor not in kept and descriptor >= 0]

    def share(self, shared: Iterable[socket.socket]) -> None:
        """Set which sockets another program has, and may go on serving on.

        When no plan names one of them any longer, it is put aside: it stays open, its file stays for the other program,
        and a plan may name it again. A socket that was put aside, and is no longer shared, is closed, and its file is
        removed.
        """
        self._shared = frozenset(shared)
        over = [name for name, some in self._aside.items() if not self._is_shared(some)]
        self._close([self._aside.pop(name) for name in over], self._all())

    def _is_shared(self, listeners: Iterable[Listener]) -> bool:
        return any(listener.socket in self._shared for listener in listeners)

    def own(self, process: int, sockets: Collection[socket.socket] | None = None) -> None:
        """Set which process removes the files of unix sockets: this one, or that of a program that has them too.

        sockets: those that the program has; None: all. If this process is the one, files whose sockets are closed here
        already are removed at once.
        """
        for listener in self._all():
            if listener.file is not None and (sockets is None or listener.socket in sockets):
                self._set_file(listener, replace(listener.file, process=process))
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

    def close_in_fork(self, kept: Collection[Listener]) -> None:
        """Close all listeners except those that are kept, in a forked process."""
        for listener in self._all():
            if listener not in kept:
                listener.close()

    def _all(self) -> list[Listener]:
        """Return all listeners, including those put aside, and those inherited that no setting has named yet."""
        return [listener for group in self._groups for some in group.values() for listener in some]

    @property
    def _groups(self) -> tuple[dict[str, list[Listener]], ...]:
        return self.listeners, self._aside, self._inherited

    def _set_file(self, listener: Listener, file: UnixFile) -> Listener:
        """Set what is known of a listener's file, under all of the listener's names, and return the new listener."""
        new = replace(listener, file=file)
        for group in self._groups:
            for name, some in group.items():
                group[name] = [new if one.socket is listener.socket else one for one in some]
        return new

    def _find_moved(self, name: str) -> list[Listener]:
        """Return the listener whose socket file is at this place now: its directory was moved. Empty: there is none."""
        path = name.removeprefix(UNIX)
        try:
            there = os.lstat(path) if path != name else None
        except OSError:
            return []
        for listener in self._all():
            file = listener.file
            if there and file and (file.device, file.inode) == (there.st_dev, there.st_ino):
                return [self._set_file(listener, replace(file, path=path))]
        return []

    def _known(self, listener: Listener) -> Listener:
        """Return the listener that has this descriptor under another name already; else this one."""
        for other in self._all():
            if other.socket is not listener.socket and other.socket.fileno() == listener.socket.fileno():
                listener.socket.detach()
                return other
        return listener

    def _close(self, listeners: Iterable[list[Listener]], kept: Iterable[Listener] = ()) -> None:
        """Close listeners, except those that are kept under another name."""
        stay = list(kept)
        with ExitStack() as stack:  # if one close fails, the others are still done
            for some in listeners:
                for listener in some:
                    if listener in stay:
                        continue
                    if listener.file is not None and listener.file.process != os.getpid():
                        self._left.append(listener.file)
                    stack.callback(listener.close)


def _made_by(settings: Settings) -> Made:
    return Made(*(getattr(settings, name) for name in Made._fields))


def names_of(settings: Settings) -> set[str]:
    """Return the names of the listeners of these settings, in the current directory.

    The name is the bind itself, without http:// or https:// before it, with two exceptions. For a socket file it is the
    file's real place, since a relative path, or a path through a link, may lead to another directory after a deploy.
    For a bind of `admin_bind` to any port it is a different name, since `bind` may have the same bind, and gets another
    port.
    """
    for_all, for_probes = _name_binds(settings)
    return {name for name, _ in (*for_all, *for_probes)}


def _name_binds(settings: Settings) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return pairs of a name and a bind, for `bind` and for `admin_bind`."""
    for_all = [(_name(bind), bind) for bind in settings.bind]
    for_probes = [
        (f"{bind} for probes" if has_any_port(parse_bind(bind)) else _name(bind), bind)
        for bind in settings.admin_bind
    ]
    return for_all, for_probes


def _name(bind: str) -> str:
    file = socket_file(parse_bind(bind))
    return UNIX + file if file else split_scheme(bind)[1]
