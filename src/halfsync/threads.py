"""Threads of the server: those of Python's threading as long as it is whole, else the system's.

An application may have put something else into threading: greenlets instead of threads (gevent, eventlet), which run
only when nothing else does, and locks that no other thread can wait for. What the server starts, and joins, depends on
none of it. As long as nobody has touched threading, though, the application finds each thread there by its name.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from halfsync.native.system import Semaphore, get_ident, start_thread
from halfsync.output import say

if TYPE_CHECKING:
    from collections.abc import Callable

_Thread, enumerate_threads = threading.Thread, threading.enumerate
# What tools replace to see what happens, and threads are started without.
_OTHERS = ("Thread", "Timer", "excepthook")
_WHOLE = {name: value for name, value in vars(threading).items() if callable(value) and name not in _OTHERS}
_BEGAN_WHOLE = threading.Lock.__module__ == "_thread"


def is_whole() -> bool:
    """Tell whether threading is as Python made it."""
    now = vars(threading)
    return _BEGAN_WHOLE and all(now.get(name) is value for name, value in _WHOLE.items())


def find_green_locks() -> str:
    """Return which library has made the locks of threading such as only greenlets of one thread can share; "": none."""
    library = str(getattr(threading.Lock, "__module__", "")).partition(".")[0]
    return library if library in ("gevent", "eventlet") else ""


class Thread:
    """A thread that runs one function, and does not keep the interpreter from ending. Any thread may join it."""

    def __init__(self, run: Callable[[], object], name: str) -> None:
        self.name = name
        self._run = run
        self._began, self._ended = Semaphore(0), Semaphore(0)
        self._ident = 0
        self._known: threading.Thread | None = None  # to threading

    def start(self) -> None:
        """Start it, once, and return when it runs. RuntimeError: the system gives no thread."""
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
            self._run()
        finally:
            del self._run  # and what it refers to
            self._ended.release()

    @property
    def ident(self) -> int:
        """Its number, as in `sys._current_frames`; 0: it has not run yet."""
        return self._ident

    @property
    def is_current(self) -> bool:
        """Whether it is the calling thread."""
        return self._ident == get_ident()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, at most `timeout` seconds. False: it has not."""
        if self._known is not None and is_whole():  # which also knows of one that never came to its function
            self._known.join(timeout)
            return not self._known.is_alive()
        ended = self._ended.acquire(timeout)
        if ended:
            self._ended.release()  # for the next who asks
        return ended

    def is_alive(self) -> bool:
        """Tell whether it has not ended yet."""
        if self._known is not None and is_whole():
            return self._known.is_alive()
        return not self.join(0)


def report(error: BaseException, where: str) -> None:
    """Hand what a thread's function has raised to threading.excepthook, which prints it unless replaced.

    where: what the thread is called if that fails.
    """
    try:
        arguments = (type(error), error, error.__traceback__, threading.current_thread())
        threading.excepthook(threading.ExceptHookArgs(arguments))
    except BaseException:  # noqa: BLE001 - a broken hook must not end the thread either
        # The error's own text is left out: to ask for it runs the application's code, and that may be what is broken.
        with suppress(BaseException):
            name = type(error).__name__
            say(f"{where}: the thread exception hook failed while reporting a {name}")
