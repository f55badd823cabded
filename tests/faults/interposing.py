"""System calls that fail when a test says so, in a real server: a shared object that is preloaded into it.

The server's native code calls the C library, so what stands before that library sees, and may refuse, each call
(interpose.c). This is as near as a test comes to a disk that breaks while a file is sent from it.
"""

import os
import struct
import subprocess
from collections.abc import Sequence
from mmap import mmap
from pathlib import Path

from tests.sharing import foreign_environment

STEPS_MOST = 62
SLOT = struct.Struct(f"=II{STEPS_MOST}i")
NAMES = (
    "accept4",
    "recv",
    "send",
    "sendfile",
    "epoll_wait",
    "poll",
    "open",
    "pwrite",
)  # in the order of interpose.c

PASS = 0  # a step that lets the call through


def short(length: int) -> int:
    """Return the step that lets a call move so many bytes at most."""
    return -length


class Faults:
    """A plan of faults for one server and its children. `send` includes sendmsg, `open` files without names.

    Made before the server, whose environment must have `environment`.
    """

    def __init__(self, directory: Path) -> None:
        """Compile the object and make the plan, with no fault in it, in a directory of the test's."""
        library, plan = directory / "interpose.so", directory / "plan"
        source = Path(__file__).with_name("interpose.c")
        subprocess.run(
            ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"],
            check=True,
            env=foreign_environment(),
        )
        plan.write_bytes(bytes(SLOT.size * len(NAMES)))
        with plan.open("r+b") as file:
            self._plan = mmap(file.fileno(), 0)
        # A sanitizer must remain the first: it calls what is preloaded behind it, and that calls the C library.
        before = os.environ.get("LD_PRELOAD")
        self.environment = {
            "LD_PRELOAD": f"{before}:{library}" if before else str(library),
            "FAULT_PLAN": str(plan),
        }

    def arm(self, name: str, steps: Sequence[int]) -> None:
        """Have the next calls of this name do these steps: an error number, PASS, or `short`."""
        at = SLOT.size * NAMES.index(name)
        assert len(steps) <= STEPS_MOST
        self.disarm(name)
        struct.pack_into(f"={len(steps)}i", self._plan, at + 8, *steps)
        struct.pack_into("=I", self._plan, at + 4, 0)
        struct.pack_into("=I", self._plan, at, len(steps))  # last: from here on it counts

    def disarm(self, name: str) -> None:
        """Let all further calls of this name through."""
        struct.pack_into("=I", self._plan, SLOT.size * NAMES.index(name), 0)

    def taken(self, name: str) -> int:
        """Return how many steps were taken since it was armed."""
        return int(struct.unpack_from("=I", self._plan, SLOT.size * NAMES.index(name) + 4)[0])
