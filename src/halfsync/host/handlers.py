"""The application's signal handlers in Python: an exception in one does not end the server.

Python runs a handler in the main thread, between any two steps of the code there. If the handler raises, that code
raises. In a process that serves in the foreground, the main thread is the server's, and the exception would end the
server's work. So each handler is called through `Contained`. If it has interrupted the server's code, its exception is
logged. An exit (SystemExit or KeyboardInterrupt) counts as SIGTERM, which drains.

If it has interrupted the application's own code, for example a hook or, under the model `process`, a request, the
exception passes. A `Server` in a program contains nothing, since the main thread is the program's. A process that the
application forks has the handlers as the application has set them (decisions/0024).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from halfsync.log import logger
from halfsync.native.forks import NOTED, catch_signal, count_copies, end_copy, is_signal_caught
from halfsync.native.system import in_main_thread
from halfsync.runtime.originals import os, signal
from halfsync.runtime.signals import outlive_signals
from halfsync.runtime.standard import is_in_library

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_NUMBERS = sorted(signal.valid_signals())
_BEGAN = count_copies()
_told: set[tuple[int, type[BaseException]]] = set()  # what was logged: each is logged once
_asked: set[int] = set()  # signals whose handlers have asked the server to end


class Contained:
    """A handler of the application, in Python's table of handlers. It may raise only in the application's code."""

    def __init__(self, handler: Callable[[int, FrameType | None], object]) -> None:
        self.handler = handler
        self._began = count_copies()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Call the handler. frame: the frame that it has interrupted."""
        if count_copies() != self._began or not _is_servers(frame):
            self.handler(number, frame)
            return
        try:
            self.handler(number, frame)
        except BaseException as error:  # noqa: BLE001 - the application may raise anything
            end_copy(self._began, error)
            _contain(number, error)
        else:
            end_copy(self._began)
        contain_handlers()  # the handler may have set others


def contain_handlers() -> None:
    """Wrap all handlers that the application has set so far in `Contained`. No effect outside the main thread."""
    if not in_main_thread():
        return
    for number in _NUMBERS:
        handler = signal.getsignal(number)
        if callable(handler) and not isinstance(handler, Contained) and _is_applications(number, handler):
            signal.signal(number, Contained(handler))


def release_handlers() -> None:
    """Unwrap all handlers, so that they can raise: the main thread is the program's again."""
    if not in_main_thread():
        return
    for number in _NUMBERS:
        handler = signal.getsignal(number)
        if isinstance(handler, Contained):
            signal.signal(number, handler.handler)
    _told.clear()
    _asked.clear()


def outlive_handlers() -> None:
    """Make signals that have handlers of the application do nothing up to the very end of this process.

    At its end the interpreter resets them to their defaults, and a timer that still runs would change the exit code.
    """
    if in_main_thread():
        outlive_signals(*(one for one in _NUMBERS if isinstance(signal.getsignal(one), Contained)))


def _forked() -> None:
    """Unwrap all handlers in a process that the application has forked."""
    if count_copies() != _BEGAN:
        release_handlers()


os.register_at_fork(after_in_child=_forked)


def _is_applications(number: int, handler: object) -> bool:
    """Return whether a handler in Python's table is the application's, and in use."""
    if is_signal_caught(number):
        return False  # caught natively: the handler in the table is for processes that the application forks
    if (
        number == signal.SIGINT
        and handler is signal.default_int_handler
        and not is_signal_caught(signal.SIGTERM)
    ):
        return False  # Python's own, since no signal of the server is caught yet
    return not str(getattr(handler, "__module__", "")).startswith("halfsync.")


def _is_servers(frame: FrameType | None) -> bool:
    """Return whether the interrupted code is the server's own, or of the standard library and called by the server."""
    while frame is not None:
        name = frame.f_globals.get("__name__")
        top = name.partition(".")[0] if isinstance(name, str) else ""
        if top == "halfsync":
            return True
        is_standard = top in sys.stdlib_module_names and is_in_library(frame.f_code.co_filename)
        if not is_standard and not top.startswith("namedtuple_"):
            return False
        frame = frame.f_back
    return True


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _contain(number: int, error: BaseException) -> None:
    """Log, once, what a handler has raised in the server's code. If it is an exit, send SIGTERM, once too."""
    kind = type(error)
    ends = issubclass(kind, SystemExit | KeyboardInterrupt)
    if (number, kind) not in _told:
        _told.add((number, kind))
        name = _name(number)
        if ends:
            logger().info(
                "the application's handler of %s has raised %s, which counts as SIGTERM", name, kind.__name__
            )
        else:
            logger().error(
                "the application's handler of %s failed; the server keeps running, and logs no further failures of it",
                name,
                exc_info=(kind, error, error.__traceback__),
            )
    if ends and number not in _asked:
        _asked.add(number)
        if callable(signal.getsignal(signal.SIGTERM)) and not is_signal_caught(signal.SIGTERM):
            catch_signal(signal.SIGTERM, NOTED)  # not the application's handler, which asked for the end
        os.kill(os.getpid(), signal.SIGTERM)
