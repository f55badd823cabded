"""Sockets that systemd has opened and passes on (sd_listen_fds(3)): read once, and taken out of the environment.

LISTEN_FDS says how many, from descriptor 3; LISTEN_PID for which process; LISTEN_FDNAMES their names, between colons. A
program that the application starts would take them for its own if it saw them, so they go as soon as they are read,
and the descriptors are not inherited by it either.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
FIRST_DESCRIPTOR = 3
MOST = 1024
UNNAMED = "unknown"  # as sd_listen_fds_with_names(3) calls a socket without a name


@dataclass(frozen=True, slots=True)
class Passed:
    """A socket that was passed: its descriptor, and the name that its unit gives it (FileDescriptorName=)."""

    descriptor: int
    name: str


@dataclass(frozen=True, slots=True)
class Activation:
    """What was passed to this process; ``problem`` says why nothing was, for who counts on it."""

    sockets: tuple[Passed, ...] = ()
    problem: str = "LISTEN_FDS is not set"


_taken: Activation | None = None


def take() -> Activation:
    """Return what was passed to this process. The first call reads the environment, and clears it of these variables.

    Those that are for another process are left to it.
    """
    global _taken  # noqa: PLW0603 - what a process was given is a fact about the process
    if _taken is None or "LISTEN_FDS" in os.environ:
        found = read(os.environ, os.getpid())
        if found.sockets:
            for variable in VARIABLES:
                os.environ.pop(variable, None)
            for passed in found.sockets:
                with suppress(OSError):  # it is not open: whoever binds it says so
                    os.set_inheritable(passed.descriptor, False)
        if found.sockets or _taken is None or not _taken.sockets:
            _taken = found
    return _taken


def read(environ: Mapping[str, str], process: int) -> Activation:
    """Read what was passed to a process, and change nothing."""
    count = environ.get("LISTEN_FDS", "")
    if not count:
        return Activation()
    owner = environ.get("LISTEN_PID", "")
    if owner != str(process):
        return Activation(problem=f"LISTEN_PID is {owner!r}, and this process is {process}")
    if not count.isascii() or not count.isdecimal() or not 0 < int(count[:6]) <= MOST:
        return Activation(problem=f"LISTEN_FDS is {count!r}, and not a number from 1 to {MOST}")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    named = [name or UNNAMED for name in names] + [UNNAMED] * int(count)
    return Activation(
        tuple(Passed(FIRST_DESCRIPTOR + place, named[place]) for place in range(int(count))), ""
    )
