"""Forking and ending the server's own processes, and ending the copies that an application forks.

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
    """Fork. Return what os.fork returns, and the signals that the calling thread had blocked.

    Afterwards a server's signals are blocked in both processes: a child must not put its own into its parent's queue.
    blocked: these signals, and possibly more. The parent calls `restore`, since the program may have blocked some
    before. The child calls `unblock`.

    Buffered output is written first; otherwise a child would write it again. If it raises OSError, no more signals are
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
    """Give the greenlets of this process, if there are any, a new event loop in the place of its parent's.

    gevent and eventlet do the same in their replacement of Python's fork.
    """
    with suppress(Exception):  # if a library has no such function, it is not ours to repair
        if "gevent" in sys.modules:
            sys.modules["gevent"].reinit()
        if "eventlet.hubs" in sys.modules:
            sys.modules["eventlet.hubs"].use_hub()


def restore(mask: Mask) -> None:
    """Block only what was blocked before `fork`. Handlers of signals that have come since then run in this call."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def unblock() -> None:
    """Let a server's signals through, in a process that is the server's own."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)


def run_child(life: Callable[[], None]) -> NoReturn:
    """Run a function in a forked process and end the process, without the exit handlers of the original program."""
    try:
        life()
    except BaseException as error:  # noqa: BLE001 - in any case, this process must not go on as a second original
        end_forked(error)
    end_forked()


def end_forked(error: BaseException | None = None) -> NoReturn:
    """End a forked process at once; if there is an error, with exit code 1 and its traceback, else with 0."""
    try:
        if error is not None:
            with genuine(*FOR_TRACEBACKS):
                import traceback  # noqa: PLC0415 - only a failure needs it

                text = "".join(traceback.format_exception(error))
            say(text.rstrip("\n"), "ERROR")
        flush_output()
    finally:
        os._exit(0 if error is None else 1)


class NoCopies:
    """A block that calls the application. A copy that the application forks in it ends as it leaves the block.

    The copy's exit code is 0 if it returns; if it raises, the code that Python would end with. This process goes on.
    """

    __slots__ = ("_began",)

    def __enter__(self) -> None:
        self._began = count_copies()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        end_copy(self._began, error)


def freeze() -> None:
    """Exclude all existing objects from garbage collection: a child that marked them would copy their pages."""
    gc.collect()
    gc.freeze()
