"""What the parent of serving processes checks before it forks them from a preloaded application.

fork(2) copies only the thread that calls it. In the child, a lock that another thread holds stays locked for ever, and
that thread's work is not done. Sockets are shared: two processes that use one connection to a database get each other's
answers. So threads and sockets are reported by name before the first fork.
"""

from __future__ import annotations

import stat
import sys
from typing import TYPE_CHECKING

from halfsync.native.system import get_ident, readable
from halfsync.runtime.originals import os, socket
from halfsync.runtime.threads import enumerate_threads

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_TASKS, _DESCRIPTORS = "/proc/self/task", "/proc/self/fd"
SETTLING_TRIES, SETTLING_S = 20, 0.01
_FAMILIES = {socket.AF_NETLINK: "netlink", socket.AF_PACKET: "packet"}


def find_hindrances(known: Collection[int] = ()) -> list[str]:
    """Return a sentence for each thread and socket that must not exist at a fork; empty: there is none.

    known: descriptors of the server's own sockets. The thread that forks must call this.
    """
    return [*_threads(), *_sockets(frozenset(known))]


def _threads() -> Iterator[str]:
    """Yield a sentence for each of Python's threads, by its name, and one for all others, by the kernel's names."""
    tasks = _settled_tasks()
    named = {thread.ident: thread for thread in enumerate_threads()}
    running = set(sys._current_frames()) - {get_ident()}
    for ident in sorted(running, key=lambda one: named[one].name if one in named else ""):
        thread = named.get(ident)
        # threading makes up a name for a thread that it did not start, once that thread uses threading.
        if thread is None or thread.name.startswith("Dummy-"):
            yield "a thread that was started with _thread runs: forked processes will not have it"
        else:
            yield f"the thread {thread.name!r} runs: forked processes will not have it"
    number = len(tasks) - len(running) - 1
    if number > 0:
        known = {thread.native_id for thread in named.values()}
        names = sorted({_task_name(task) for task in [task for task in tasks if task not in known][-number:]})
        many, pronoun = (
            (f"{number} native threads run", "them") if number > 1 else ("a native thread runs", "it")
        )
        yield f"{many} that Python does not know ({', '.join(names)}): forked processes will not have {pronoun}"


def _settled_tasks() -> list[int]:
    """Return the kernel's threads of this process, after a wait for those that Python is just starting or ending.

    So this takes a moment if there are threads that Python does not know. Empty if there is no /proc.
    """
    tasks: list[int] = []
    for _ in range(SETTLING_TRIES):
        try:
            tasks = sorted(int(name) for name in os.listdir(_TASKS))
        except OSError:
            return []
        if len(tasks) <= len(sys._current_frames()):
            break
        readable([], SETTLING_S)
    return tasks


def _task_name(task: int) -> str:
    try:
        with open(f"{_TASKS}/{task}/comm", "rb") as file:  # noqa: PTH123 - as above
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return "?"


def _sockets(known: frozenset[int]) -> Iterator[str]:
    try:
        descriptors = sorted(int(name) for name in os.listdir(_DESCRIPTORS))
    except OSError:
        return
    for descriptor in descriptors:
        try:
            if descriptor not in known and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                with socket.socket(fileno=os.dup(descriptor)) as sock:
                    what = _describe(sock)
                yield f"{what} is open (descriptor {descriptor}): forked processes would share it"
        except OSError:
            continue  # it was the directory's own, or has been closed since


def _describe(sock: socket.socket) -> str:
    """Return what kind of socket this is, and its addresses."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        return f"a {_FAMILIES.get(sock.family, 'special')} socket"
    local = _address(sock.getsockname())
    if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return f"a socket that listens on {local}"
    kind = "a connection" if sock.type == socket.SOCK_STREAM else "a datagram socket"
    try:
        peer = _address(sock.getpeername())
    except OSError:
        return f"a socket at {local} without a peer"
    if local == peer == "":
        return "one end of a pair of unix sockets" if sock.family == socket.AF_UNIX else kind
    return f"{kind}{f' from {local}' if local else ''} to {peer or 'a unix socket'}"


def _address(address: object) -> str:
    if isinstance(address, tuple):
        host, port = str(address[0]), address[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    name = os.fsdecode(address) if isinstance(address, bytes) else str(address)
    return "@" + name[1:] if name.startswith("\0") else name
