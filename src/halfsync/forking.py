"""Forking a process that lives a life of its own, and ending it."""

from __future__ import annotations

import gc
import os
import signal
import traceback
from typing import TYPE_CHECKING, NoReturn

from halfsync.output import flush_output
from halfsync.signals import ALL

if TYPE_CHECKING:
    from collections.abc import Callable


def fork() -> int:
    """Fork. Signals are blocked in both processes afterwards: a child must not tell its parent's queue of its own.

    What waits to be printed is printed first, or a child would print it again. Raises OSError, with no signal blocked.
    """
    flush_output()
    signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    try:
        return os.fork()
    except OSError:
        unblock()
        raise


def unblock() -> None:
    """Let signals through again, after `fork`."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)


def live(life: Callable[[], None]) -> NoReturn:
    """Do what a forked process is for and end it, without the exit handlers of the program that it is a copy of."""
    code = 1
    try:
        life()
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it was, this process must not go on as a second original
        traceback.print_exc()
    finally:
        flush_output()
        os._exit(code)


def freeze() -> None:
    """Leave what exists out of garbage collection: a child that marks it would copy its pages."""
    gc.collect()
    gc.freeze()
