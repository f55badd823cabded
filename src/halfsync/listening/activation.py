"""Sockets that systemd has opened and passes on (sd_listen_fds(3)): read once, and removed from the environment.

LISTEN_FDS says how many there are, from descriptor 3; LISTEN_PID says for which process; LISTEN_FDNAMES has their
names, separated by colons. A program that the application starts would take the variables for its own, so they are
removed as soon as they are read, and the program does not inherit the descriptors either.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from halfsync.amounts import digits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
FIRST_DESCRIPTOR = 3
MOST = 1024
UNNAMED = "unknown"  # the name of a socket without one, in sd_listen_fds_with_names(3)


@dataclass(frozen=True, slots=True)
class Passed:
    """A socket that was passed: its descriptor, and its name in the socket unit (FileDescriptorName=).

    inode: of the socket that the descriptor led to when it was taken; 0: none.
    """

    descriptor: int
    name: str
    inode: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Activation:
    """The sockets that were passed to this process. ``problem``: why there are none, for a bind that needs them."""

    sockets: tuple[Passed, ...] = ()
    problem: str = "LISTEN_FDS is not set"


_taken: Activation | None = None


def take() -> Activation:
    """Return what was passed to this process. The first call reads these variables and removes them.

    Variables for another process stay.
    """
    global _taken  # noqa: PLW0603 - what a process was given belongs to the process
    if _taken is None or "LISTEN_FDS" in os.environ:
        found = read(os.environ, os.getpid())
        if found.sockets:
            for variable in VARIABLES:
                os.environ.pop(variable, None)
            for passed in found.sockets:
                with suppress(OSError):  # it is not open: binding it will report that
                    os.set_inheritable(passed.descriptor, False)
            sockets = tuple(
                replace(passed, inode=socket_inode(passed.descriptor)) for passed in found.sockets
            )
            found = replace(found, sockets=sockets)
        if found.sockets or _taken is None or not _taken.sockets:
            _taken = found
    return _taken


def pass_on(process: int) -> tuple[dict[str, str], list[int]]:
    """Return the variables and the descriptors that pass the same sockets on to another program. process: its pid.

    A socket that was closed here, by a reload that does not name it, cannot be passed; the others keep their places.
    """
    sockets = () if _taken is None else _taken.sockets
    if not sockets:
        return {}, []
    variables = {
        "LISTEN_FDS": str(len(sockets)),
        "LISTEN_PID": str(process),
        "LISTEN_FDNAMES": ":".join(passed.name for passed in sockets),
    }
    return variables, [
        one.descriptor for one in sockets if one.inode and socket_inode(one.descriptor) == one.inode
    ]


def find_sockets() -> dict[int, int]:
    """Return the inode of each socket that this process has open, by its descriptor.

    At the start of a program these are the sockets that were passed to it. A descriptor may be another socket later.
    """
    try:
        numbers: Iterable[int] = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - a string will do
    except OSError:
        numbers = range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + MOST)
    return {number: inode for number in numbers if (inode := socket_inode(number))}


def socket_inode(descriptor: int) -> int:
    """Return the inode of the socket that a descriptor leads to; 0: it is not a socket, or not open."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return 0
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else 0


def read(environ: Mapping[str, str], process: int) -> Activation:
    """Return what was passed to a process, and change nothing."""
    given = environ.get("LISTEN_FDS", "")
    if not given:
        return Activation()
    owner = environ.get("LISTEN_PID", "")
    if owner != str(process):
        return Activation(problem=f"LISTEN_PID is {owner!r}, and this process is {process}")
    count = digits(given)
    if count is None or not 0 < count <= MOST:
        return Activation(problem=f"LISTEN_FDS is {given!r}, and not a number from 1 to {MOST}")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    named = [name or UNNAMED for name in names] + [UNNAMED] * count
    return Activation(tuple(Passed(FIRST_DESCRIPTOR + place, named[place]) for place in range(count)), "")
