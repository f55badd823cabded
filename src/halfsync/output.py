"""Standard output and error, which may be closed, or full, or not there at all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from halfsync.native.pipes import Quiet

STANDARD = 3  # descriptors: 0, 1 and 2


def hold_standard_descriptors() -> None:
    """Open the null device where a standard descriptor is closed, before anything else is opened.

    Else a socket would take its number, and what the application prints would go to a client.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def flush_output() -> None:
    """Write what waits to be printed. What cannot be written is left: it is not worth a server."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError), Quiet():
                stream.flush()
