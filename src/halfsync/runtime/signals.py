"""Signals as a queue, and waiting for descriptors: what a process that serves in the foreground stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from halfsync.native.forks import (
    COUNTED,
    DEFAULT,
    DROPPED,
    HELD,
    NOTED,
    catch_signal,
    count_copies,
    end_copy,
    is_handler_replaced,
    is_signal_caught,
    look_at_signal,
    note_terminal,
    release_signal,
    take_signal,
    tell_signals,
    tells_of_terminal,
)
from halfsync.native.system import in_main_thread, readable
from halfsync.runtime.originals import monotonic, os, signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    _Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Each one counts. Of others one that waits already says all that a second would.
COUNTED_ONES = (signal.SIGTTIN, signal.SIGTTOU)
# Those that an operator sends to a server and that do not end it.
HARMLESS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
# What an operator, a terminal or a service manager may send to a whole group of processes.
SENT = (*ENDING, *HARMLESS)
# By which a supervisor recalls a process that starts: it ends one that still loads. Nobody sends it to a whole group.
RECALL = signal.SIGRTMAX
# What any process of a server may be sent: nothing of it must reach a copy that is not ready for it.
ALL = (*SENT, signal.SIGCHLD, RECALL)
READ_BYTES = 65_536  # all that the pipe holds


def forget_signals() -> None:
    """Give every signal that a server understands its default again, in a forked process that is not a server."""
    signal.set_wakeup_fd(-1)
    for number in ALL:
        signal.signal(number, signal.SIG_DFL)


def drop_signals(*numbers: int) -> None:
    """Let these signals do nothing in this process. In programs that it starts and in copies of it they have defaults.

    If they were ignored here, they would be ignored there too.
    """
    for number in numbers:
        catch_signal(number, DROPPED)


def release_signals(*numbers: int) -> None:
    """Give signals back what they had before `drop_signals`, also in a process that the server has forked since."""
    for number in numbers:
        release_signal(number)


def outlive_signals(*numbers: int) -> None:
    """Let these signals do nothing up to the very end of this process, which has nothing left to do for them.

    Both calls are needed: at its end the interpreter restores the handlers that it knows of.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    drop_signals(*numbers)


def hold_signals() -> None:
    """Let the signals that end no server not end this process either, before and after it serves.

    Until then they wait for `Signals`, and afterwards they do nothing, up to the very end. Those that have a handler,
    or are ignored, stay as they are. A handler that the program sets later takes the place of ours.
    """
    note_terminal()
    for number in HARMLESS:
        if has_default(number):
            catch_signal(number, HELD)


def has_default(number: int) -> bool:
    """Tell whether a signal has its default, or had it before it was caught. Native handlers are in no table."""
    return bool(signal.getsignal(number) == signal.SIG_DFL and look_at_signal(number) == DEFAULT)


def note_signals(fd: int, *numbers: int) -> None:
    """Note these signals, and write their numbers to a non-blocking descriptor. This process learns of them so only."""
    tell_signals(fd)
    for number in numbers:
        catch_signal(number, NOTED)


class Signals:
    """Signals as a queue: handlers only note them, and a byte in a pipe for each signal ends the wait.

    The handlers are native, and not in Python's table. So they cannot nest, and a process that the application forks
    has none of them (`halfsync.native.forks`). A flood fills the pipe, which still wakes the reader. No signal that
    matters is lost: of most kinds one that waits says all that a second would, and of the others thousands are kept.

    A context manager, owned by the thread that made it; outside the main thread, where Python lets no handler be set,
    it waits for descriptors only. A handler that the program sets while it lasts is left as it is.

    Signals that the program has blocked are let through while it lasts: they would reach nobody else.

    SIGHUP of a terminal that closes is taken as SIGTERM, or not at all if SIGHUP was ignored at the start (nohup).
    """

    NUMBERS: tuple[signal.Signals, ...] = (*ENDING, signal.SIGCHLD, signal.SIGUSR1)
    OPTIONAL: tuple[signal.Signals, ...] = ()  # that are queued only if they have their default

    def __init__(self) -> None:
        self._main = in_main_thread()

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)
        self._began = count_copies()
        if self._main:
            self._told = tell_signals(self._writer)
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, (*self.NUMBERS, *self.OPTIONAL))
            default = [number for number in self.OPTIONAL if has_default(number)]
            self._before = {number: _catch(number) for number in (*self.NUMBERS, *default)}
            _forget_held(number for number in self.OPTIONAL if number not in default)
            self._blocked = mask.intersection(self._before)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask - self._blocked)
            note_terminal()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._main:
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._before)
            for number, before in self._before.items():
                _restore(number, *before)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask | self._blocked)
            tell_signals(self._told)
        os.close(self._reader)
        os.close(self._writer)

    def catch_again(self) -> None:
        """Queue NUMBERS again, if the program has set handlers for some, or blocked some, since the queue was made."""
        if not self._main:
            return
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self.NUMBERS)
        for number in self.NUMBERS:
            if not is_signal_caught(number):
                handler = self._before[number][1]
                signal.signal(number, handler if callable(handler) else signal.SIG_DFL)
                _catch(number)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask - set(self.NUMBERS))

    @property
    def ignored(self) -> list[int]:
        """The signals that were ignored when the queue was made."""
        before = self._before if self._main else {}
        return [number for number, (_, handler) in before.items() if handler == signal.SIG_IGN]

    @property
    def descriptors(self) -> tuple[int, int]:
        """Both ends of the queue, which are no business of a forked child's."""
        return self._reader, self._writer

    def wait(self, descriptors: Iterable[int], timeout: float | None) -> int | None:
        """Return the next signal's number; None when a descriptor became readable or `timeout` seconds were over."""
        deadline = None if timeout is None else monotonic() + timeout
        watched = [self._reader, *descriptors]
        while True:
            end_copy(self._began)  # a handler that the program set itself may fork, for example
            number = take_signal() if self._main else 0
            if number == signal.SIGHUP and tells_of_terminal(number):
                if self._before[signal.SIGHUP][1] == signal.SIG_IGN:
                    continue
                self.hung_up()
                return signal.SIGTERM
            if number:
                return number
            left = None if deadline is None else max(0.0, deadline - monotonic())
            ready = readable(watched, left)
            if self._reader in ready:
                os.read(self._reader, READ_BYTES)
            elif ready or (left is not None and left <= 0):
                return None

    def hung_up(self) -> None:
        """Take note that the terminal was closed, for which `wait` returns SIGTERM."""


def _catch(number: int) -> tuple[int, _Handler]:
    """Queue a signal from now on. Returns what it had before: its native kind, and the handler in Python's table.

    A handler that the program has set stays, in Python's table or as a native one: a process that the program forks has
    it again. A handler from the program's start does not stay (Python's own for SIGINT, or an ignored signal): such a
    process has the default instead.
    """
    handler = signal.getsignal(number)
    if _is_start(handler) and not is_handler_replaced(number, lambda: signal.signal(number, handler)):
        signal.signal(number, signal.SIG_DFL)
    return catch_signal(number, COUNTED if number in COUNTED_ONES else NOTED), handler


def _restore(number: int, kind: int, handler: _Handler) -> None:
    """Give a signal back what it had before `_catch`, unless the program has set a handler since."""
    if not is_signal_caught(number):
        return
    if kind:
        catch_signal(number, kind)
        return
    release_signal(number)
    if _is_start(handler) and look_at_signal(number) == DEFAULT:
        signal.signal(number, handler)


def _forget_held(numbers: Iterable[int]) -> None:
    """Keep these signals no more. They were held, and have got a handler of the program's, which may call ours."""
    for number in numbers:
        if not is_signal_caught(number):
            release_signal(number)


def _is_start(handler: _Handler) -> bool:
    """Tell whether a program can have this handler from its start, other than the default."""
    return handler in (signal.SIG_IGN, signal.default_int_handler)
