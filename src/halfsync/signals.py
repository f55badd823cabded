"""Signals as a queue, and waiting for descriptors: what a process that serves in the foreground stands on."""

from __future__ import annotations

import math
import os
import select
import signal
import threading
from time import monotonic
from typing import TYPE_CHECKING, Self

from halfsync.native.forks import count_copies, end_copy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# Each one counts. Of others one that waits already says all that a second would.
COUNTED = (signal.SIGTTIN, signal.SIGTTOU)
# What any process of a server may be sent: nothing of it must reach a copy that is not ready for it.
ALL = (*ENDING, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
READ_BYTES = 65_536  # all that the pipe holds
# A handler that does nothing. None is written in Python, which would begin the next while one runs: a flood could nest
# them until the interpreter gives up.
nothing = dict[int, "FrameType | None"]().get


class Signals:
    """Signals as a queue: handlers only note them, and a byte in a pipe for each signal ends the wait.

    A flood fills the pipe, and what finds no room in it is lost: it wakes all the same, and the handlers lose nothing.
    Only the number of those that are counted, which is read from the pipe, may suffer then.

    A context manager, owned by the thread that made it; outside the main thread, where Python delivers no signals, it
    waits for descriptors only.
    """

    NUMBERS: tuple[signal.Signals, ...] = (*ENDING, signal.SIGCHLD, signal.SIGUSR1)

    def __init__(self) -> None:
        self._main = threading.current_thread() is threading.main_thread()
        self._pending: dict[int, FrameType | None] = {}  # by number, in the order in which they came
        self._counted: list[int] = []

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        os.set_blocking(self._reader, False)
        self._began = count_copies()
        if self._main:
            self._before = {
                number: signal.signal(number, nothing if number in COUNTED else self._pending.setdefault)
                for number in self.NUMBERS
            }
            self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        if self._main:
            signal.set_wakeup_fd(self._wakeup)
            for number, handler in self._before.items():
                signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    @property
    def descriptors(self) -> tuple[int, int]:
        """Both ends of the queue, which are no business of a forked child's."""
        return self._reader, self._writer

    def wait(self, descriptors: Iterable[int], timeout: float | None) -> int | None:
        """Return the next signal's number; None when a descriptor became readable or `timeout` seconds were over."""
        deadline = None if timeout is None else monotonic() + timeout
        watched = [self._reader, *descriptors]
        while not (self._pending or self._counted):
            left = None if deadline is None else max(0.0, deadline - monotonic())
            ready = readable(watched, left)
            end_copy(self._began)  # a handler that the program set itself may fork, for example
            if self._reader in ready:
                numbers = os.read(self._reader, READ_BYTES)
                self._counted += [
                    number for number in numbers if number in COUNTED and number in self.NUMBERS
                ]
            elif ready or (left is not None and left <= 0):
                return None
        if self._counted:
            return self._counted.pop(0)
        number = list(self._pending)[0]  # noqa: RUF015 - in one step, in which no other is noted
        del self._pending[number]
        return number


def readable(descriptors: Iterable[int], timeout: float | None) -> list[int]:
    """Wait until one of these can be read, at most `timeout` seconds, and return those that can.

    poll(2), since select(2) cannot name a descriptor above 1023, and an embedding program may have that many.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [ready for ready, _ in poll.poll(None if timeout is None else math.ceil(timeout * 1000))]
