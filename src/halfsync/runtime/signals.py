"""Signals as a queue, and waiting for descriptors: the basis of a process that serves in the foreground."""

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
    reports_closed_terminal,
    set_signal_fd,
    take_signal,
)
from halfsync.native.system import in_main_thread, readable
from halfsync.runtime.originals import monotonic, os, signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    _Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Each of these counts. Of any other signal, a second one adds nothing while the first still waits.
COUNTED_ONES = (signal.SIGTTIN, signal.SIGTTOU)
# Those that an operator sends to a server and that do not end it.
HARMLESS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
# Those that an operator, a terminal or a service manager may send to a whole process group.
SENT = (*ENDING, *HARMLESS)
# A supervisor recalls a starting process with it: a process that still loads ends. It is never sent to a whole group.
RECALL = signal.SIGRTMAX
# All signals that a process of a server may get: none of them must reach a copy that is not ready for it.
ALL = (*SENT, signal.SIGCHLD, RECALL)
READ_BYTES = 65_536  # the capacity of the pipe


def forget_signals() -> None:
    """Reset every signal of a server to its default, in a forked process that is not a server."""
    signal.set_wakeup_fd(-1)
    for number in ALL:
        signal.signal(number, signal.SIG_DFL)


def drop_signals(*numbers: int) -> None:
    """Make these signals do nothing in this process. In its copies, and in programs that it starts, they have defaults.

    If they were ignored here instead, they would be ignored there too.
    """
    for number in numbers:
        catch_signal(number, DROPPED)


def release_signals(*numbers: int) -> None:
    """Restore what signals had before `drop_signals`. This also works in a process that the server has forked since."""
    for number in numbers:
        release_signal(number)


def outlive_signals(*numbers: int) -> None:
    """Make these signals do nothing up to the very end of this process, which has nothing left to do for them.

    Both calls are needed: at its end the interpreter restores the handlers that it knows.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    drop_signals(*numbers)


def hold_signals() -> None:
    """Keep the signals that do not end a server from ending this process before and after it serves.

    Before, they wait for `Signals`; afterwards they do nothing, up to the very end. Signals that have a handler, or are
    ignored, stay as they are. A handler that the program sets later replaces ours.
    """
    note_terminal()
    for number in HARMLESS:
        if has_default(number):
            catch_signal(number, HELD)


def has_default(number: int) -> bool:
    """Return whether a signal has its default, or had it before it was caught.

    Python's table does not show native handlers.
    """
    return bool(signal.getsignal(number) == signal.SIG_DFL and look_at_signal(number) == DEFAULT)


def note_signals(fd: int, *numbers: int) -> None:
    """Note these signals, and write their numbers to a non-blocking descriptor. They have no other effect here."""
    set_signal_fd(fd)
    for number in numbers:
        catch_signal(number, NOTED)


class Signals:
    """Signals as a queue: handlers only note them, and a byte in a pipe for each signal ends the wait.

    The handlers are native, and not in Python's table. So they cannot nest, and a process that the application forks
    has none of them (`halfsync.native.forks`). A flood of signals fills the pipe, which still wakes the reader. No
    signal that matters is lost: of most kinds a second one adds nothing while the first waits, and of the others
    thousands are kept.

    A context manager, owned by the thread that made it. Outside the main thread, where Python allows no handlers, it
    waits for descriptors only. A handler that the program sets inside the block is left as it is.

    Signals that the program has blocked are let through inside the block: nothing else would receive them.

    SIGHUP of a terminal that closes counts as SIGTERM, or is dropped if SIGHUP was ignored at the start (nohup).
    """

    NUMBERS: tuple[signal.Signals, ...] = (*ENDING, signal.SIGCHLD, signal.SIGUSR1)
    OPTIONAL: tuple[signal.Signals, ...] = ()  # queued only if they have their default

    def __init__(self) -> None:
        self._main = in_main_thread()

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)
        self._began = count_copies()
        if self._main:
            self._fd_before = set_signal_fd(self._writer)
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
            set_signal_fd(self._fd_before)
        os.close(self._reader)
        os.close(self._writer)

    def catch_again(self) -> None:
        """Queue NUMBERS again, if the program has set handlers for some, or blocked some, inside the block."""
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
        """Both ends of the queue, which a forked child must not use."""
        return self._reader, self._writer

    def wait(self, descriptors: Iterable[int], timeout: float | None) -> int | None:
        """Return the next signal's number; None: a descriptor is readable, or `timeout` seconds are over."""
        deadline = None if timeout is None else monotonic() + timeout
        watched = [self._reader, *descriptors]
        while True:
            end_copy(self._began)  # a handler of the program may fork, for example
            number = take_signal() if self._main else 0
            if number == signal.SIGHUP and reports_closed_terminal(number):
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
        """React to a closed terminal, for which `wait` returns SIGTERM. Does nothing here."""


def _catch(number: int) -> tuple[int, _Handler]:
    """Queue a signal from now on. Return what it had before: its native kind, and the handler in Python's table.

    A handler that the program has set is kept, in Python's table or as a native one, for processes that the program
    forks. A handler from the program's start is not kept (Python's own for SIGINT, or an ignored signal): forked
    processes have the default instead.
    """
    handler = signal.getsignal(number)
    if _is_start(handler) and not is_handler_replaced(number, lambda: signal.signal(number, handler)):
        signal.signal(number, signal.SIG_DFL)
    return catch_signal(number, COUNTED if number in COUNTED_ONES else NOTED), handler


def _restore(number: int, kind: int, handler: _Handler) -> None:
    """Restore what a signal had before `_catch`, unless the program has set a handler since."""
    if not is_signal_caught(number):
        return
    if kind:
        catch_signal(number, kind)
        return
    release_signal(number)
    if _is_start(handler) and look_at_signal(number) == DEFAULT:
        signal.signal(number, handler)


def _forget_held(numbers: Iterable[int]) -> None:
    """Stop holding these signals. The program has set handlers for them since, which may call ours."""
    for number in numbers:
        if not is_signal_caught(number):
            release_signal(number)


def _is_start(handler: _Handler) -> bool:
    """Return whether a program may have this handler from its start. The default does not count."""
    return handler in (signal.SIG_IGN, signal.default_int_handler)
