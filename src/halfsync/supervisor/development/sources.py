"""Which files of the application a process has loaded, and how it reports them, so that they can be watched."""

from __future__ import annotations

import sys
import sysconfig
from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.runtime.originals import os, socket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PACKET_BYTES = 32 * 1024  # of one record; a longer list takes several
TELL_S = 1.0  # the longest wait for a watcher that does not listen
_INSTALLED = ("site-packages", "dist-packages")
_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")


def find_loaded(error: BaseException | None = None) -> dict[str, int]:
    """Return the Python files that this process has loaded, except the standard library and installed packages.

    Each has the time of its last change, in ns; 0: it is not there. error: the reason why the application could not be
    loaded. The files in its traceback count too, though their modules are forgotten.
    """
    found = [*map(_file_of, list(sys.modules.values())), *_files_of(error, set())]
    paths = {os.path.abspath(path) for path in found if isinstance(path, str) and path.endswith(".py")}
    libraries = _libraries()
    return {path: changed_at(path) for path in sorted(paths) if _is_own(path, libraries)}


def _file_of(module: object) -> object:
    """Return a module's file, without an attribute lookup in the module: a lazy module might load itself by that."""
    try:
        names = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return None  # sys.modules may contain anything
    return names.get("__file__") if isinstance(names, dict) else None


def _files_of(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    """Yield the files of the frames of an exception and its causes, and of a syntax error."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    if isinstance(error, SyntaxError) and error.filename:
        yield error.filename
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    yield from _files_of(error.__cause__, seen)
    yield from _files_of(error.__context__, seen)


def _libraries() -> tuple[str, ...]:
    """Return the folders that are not the application's: the standard library, and this package."""
    paths = {sysconfig.get_path(name) for name in _LIBRARIES}
    ours = os.path.dirname(sys.modules["halfsync"].__file__ or "")
    return tuple(path.rstrip("/") + "/" for path in {*paths, ours} if path)


def _is_own(path: str, libraries: tuple[str, ...]) -> bool:
    return not path.startswith(libraries) and not any(part in _INSTALLED for part in path.split("/"))


def changed_at(path: str) -> int:
    """Return the time of a file's last change, in ns; 0: it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


class Reporter:
    """Tells the watcher which files this process has loaded, each once. Owned by the main thread.

    What the watcher does not read is lost: then it does not watch, and the log says so.
    """

    def __init__(self, reports: socket.socket) -> None:
        reports.settimeout(TELL_S)
        self._reports = reports
        self._told: set[str] = set()
        self._modules = 0

    def tell(self, error: BaseException | None = None) -> None:
        """Report what was loaded since the last time. error: as for `find_loaded`."""
        self._modules = len(sys.modules)
        files = {path: time for path, time in find_loaded(error).items() if path not in self._told}
        self._told |= files.keys()
        with suppress(OSError):
            for packet in pack(files):
                self._reports.send(packet, socket.MSG_NOSIGNAL)

    def look(self) -> None:
        """Report what was imported while requests were answered, if anything was."""
        if len(sys.modules) != self._modules:
            self.tell()


def pack(files: Mapping[str, int]) -> Iterator[bytes]:
    """Yield a list of files as packets of at most PACKET_BYTES, except a packet with a very long name."""
    packet: list[bytes] = []
    size = 0
    for path, time in files.items():
        record = b"%d %s" % (time, os.fsencode(path))
        if packet and size + len(record) + 1 > PACKET_BYTES:
            yield b"\0".join(packet)
            packet, size = [], 0
        packet.append(record)
        size += len(record) + 1
    if packet:
        yield b"\0".join(packet)


def unpack(packets: Iterable[bytes]) -> dict[str, int]:
    """Return the files that `pack` has written into packets."""
    files: dict[str, int] = {}
    for packet in packets:
        for record in packet.split(b"\0"):
            time, _, path = record.partition(b" ")
            files[os.fsdecode(path)] = int(time)
    return files
