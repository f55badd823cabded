"""Threads of the server: made by Python's threading if that is unchanged, else by the system.

An application may have changed threading (gevent, eventlet). It then has greenlets instead of threads, which run only
when nothing else runs, and locks that other threads cannot wait for. The server starts and joins its threads without
any of that. But as long as threading is unchanged, the application finds each thread there by its name.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.native.system import Semaphore, get_ident, in_main_thread, start_thread
from halfsync.runtime.originals import monotonic
from halfsync.runtime.output import say

if TYPE_CHECKING:
    from collections.abc import Callable

_Thread, enumerate_threads = threading.Thread, threading.enumerate
# Tools replace these to observe a program. Threads can be started without them.
_OTHERS = ("Thread", "Timer", "excepthook")
_WHOLE = {name: value for name, value in vars(threading).items() if callable(value) and name not in _OTHERS}
LOGGING_S = 5.0  # longest time for a log handler of the application to write a line, at the end
MOMENT_S = 0.1  # time for a thread to end once its function has returned, beyond any timeout
_BEGAN_WHOLE = threading.Lock.__module__ == "_thread"


def is_whole() -> bool:
    """Return whether threading is as Python made it."""
    now = vars(threading)
    return _BEGAN_WHOLE and all(now.get(name) is value for name, value in _WHOLE.items())


def find_green_locks() -> str:
    """Return the library that has replaced the locks of threading with ones that threads cannot share; "": none."""
    library = str(getattr(threading.Lock, "__module__", "")).partition(".")[0]
    return library if library in ("gevent", "eventlet") else ""


class Thread:
    """A thread that runs one function, and does not keep the interpreter from ending. Any thread may join it."""

    def __init__(self, run: Callable[[], object], name: str) -> None:
        self.name = name
        self._run = run
        self._began, self._ended = Semaphore(0), Semaphore(0)
        self._has_ended = False  # set before `_ended`, which one of two joining threads may hold
        self._ident = 0
        self._known: threading.Thread | None = None  # the same thread in threading, if that has started it
        self._leave: Semaphore | None = None  # permission to go on, for a thread that the main thread starts
        self._may_run = True

    def start(self) -> None:
        """Start the thread, once, and return when it runs. RuntimeError: the system cannot create a thread.

        If a signal handler raises in between, so does this, and the thread does not run its function.
        """
        if not in_main_thread():  # signal handlers run only there
            self._start()
            return
        self._leave, self._may_run = Semaphore(0), False
        try:
            self._start()
            self._may_run = True
        finally:
            self._leave.release()

    def _start(self) -> None:
        if is_whole():
            thread = _Thread(target=self._live, name=self.name, daemon=True)
            thread.start()
            self._known = thread
        else:
            start_thread(self._live)
            self._began.acquire()

    def _live(self) -> None:
        self._ident = get_ident()
        self._began.release()
        try:
            if self._leave is not None:
                self._leave.acquire()
            if self._may_run:
                self._run()
        finally:
            try:
                del self._run  # releases what it refers to, too
            finally:
                self._has_ended = True
                self._ended.release()

    @property
    def ident(self) -> int:
        """The number of the thread, as in `sys._current_frames`; 0: it has not run yet."""
        return self._ident

    @property
    def is_current(self) -> bool:
        """Whether this is the calling thread."""
        return self._ident == get_ident()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the thread has ended, at most `timeout` seconds. False: it has not.

        An exception in a signal handler ends the wait, and changes nothing else. An interrupted join of threading may
        consider a running thread ended, so threading joins only a thread whose function has returned, or never ran.
        """
        deadline = None if timeout is None else monotonic() + timeout
        if (self._ident or self._known is None) and not self._has_ended:
            ended = self._ended.acquire(timeout)
            if not ended:
                return False
            self._ended.release()  # for the next call
        if self._known is None or not is_whole():
            return bool(self._ident)
        self._known.join(None if deadline is None else max(MOMENT_S, deadline - monotonic()))
        return not self._known.is_alive()

    def join_logging(self, is_logging: Callable[[], bool]) -> bool:
        """Wait until the thread has ended. False: it is still in the application's logging after LOGGING_S."""
        while not self.join(LOGGING_S):
            if is_logging():
                return False
        return True

    def is_alive(self) -> bool:
        """Return whether the thread has not ended yet."""
        return not self.join(0)


def report(error: BaseException, where: str) -> None:
    """Pass the exception of a thread's function to threading.excepthook, which prints it unless it was replaced.

    where: the name of the thread, printed if the hook fails.
    """
    try:
        arguments = (type(error), error, error.__traceback__, threading.current_thread())
        threading.excepthook(threading.ExceptHookArgs(arguments))
    except BaseException:  # noqa: BLE001 - a broken hook must not end the thread either
        # The error's text is left out: getting it would run the application's code, which may be what is broken.
        with suppress(BaseException):
            name = type(error).__name__
            say(f"{where}: the thread exception hook failed while reporting a {name}", "ERROR")
