"""Standard output and error, which may be closed, or full, or not there at all."""

from __future__ import annotations

import sys
from contextlib import suppress


def flush_output() -> None:
    """Write what waits to be printed. What cannot be written is left: it is not worth a server."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
