"""Forking the server's own processes and ending them, and ending the copies that an application forks.

All forks of the server are made here. Every other fork is the application's: `halfsync.native.forks` has the rules
for its child.
"""

from __future__ import annotations

import gc
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from halfsync.native.forks import count_copies, end_copy, own_fork
from halfsync.runtime.originals import os, signal
from halfsync.runtime.output import flush_output, say
from halfsync.runtime.signals import ALL
from halfsync.runtime.standard import FOR_TRACEBACKS, genuine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Mask = set[int]  # of signals


def fork(blocked: Iterable[int] = ALL) -> tuple[int, Mask]:
    """Fork. Return what os.fork does, and which signals the calling thread had blocked.

    A server's signals are blocked in both processes afterwards: a child must not tell its parent's queue of its own.
    blocked: those and more. The parent calls `restore`, since what was blocked before may be the program's. The child
    calls `unblock`.

    What waits to be printed is printed first, or a child would print it again. Raises OSError, and nothing more is
    blocked than before.
    """
    flush_output()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    own_fork(True)
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        pid: int = os.fork()
    except BaseException:
        restore(mask)
        raise
    finally:
        own_fork(False)
    if pid == 0:
        _renew_greenlets()
    return pid, mask


def _renew_greenlets() -> None:
    """Give the greenlets of this process an event loop of its own instead of its parent's, if there are any.

    gevent and eventlet do the same in their replacement of Python's fork.
    """
    with suppress(Exception):  # if a library has no such function, it is not ours to repair
        if "gevent" in sys.modules:
            sys.modules["gevent"].reinit()
        if "eventlet.hubs" in sys.modules:
            sys.modules["eventlet.hubs"].use_hub()


def restore(mask: Mask) -> None:
    """Block what was blocked before `fork`, and nothing more. Handlers of signals that came meanwhile run in it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def unblock() -> None:
    """Let a server's signals through, in a process that is the server's own."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)


def run_child(life: Callable[[], None]) -> NoReturn:
    """Do what a forked process is for and end it, without the exit handlers of the program that it is a copy of."""
    try:
        life()
    except BaseException as error:  # noqa: BLE001 - whatever it was, this process must not go on as a second original
        end_forked(error)
    end_forked()


def end_forked(error: BaseException | None = None) -> NoReturn:
    """End a forked process as `run_child` does: at once; with exit code 1 and a traceback if something was raised."""
    try:
        if error is not None:
            with genuine(*FOR_TRACEBACKS):
                import traceback  # noqa: PLC0415 - only a failure needs it

                text = "".join(traceback.format_exception(error))
            say(text.rstrip("\n"))
        flush_output()
    finally:
        os._exit(0 if error is None else 1)


class NoCopies:
    """A block that calls the application. A copy that the application forks in it ends as it leaves the block.

    Its exit code is 0 if it returns; if it raises, the code that Python would end with. This process goes on.
    """

    __slots__ = ("_began",)

    def __enter__(self) -> None:
        self._began = count_copies()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        end_copy(self._began, error)


def freeze() -> None:
    """Leave what exists out of garbage collection: a child that marks it would copy its pages."""
    gc.collect()
    gc.freeze()
