"""The signals of a supervisor, from its first moment on: before it opens anything, and while it loads an application.

Until it runs, those that end it raise KeyboardInterrupt, so that what it has opened is closed and its files are
removed; a SIGHUP that tells of a closed terminal is one of them. All others wait in the queue until it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from halfsync.foreground import LoggingSignals
from halfsync.native.forks import raise_signal
from halfsync.runtime.originals import signal
from halfsync.runtime.signals import ENDING, Signals

if TYPE_CHECKING:
    from types import FrameType


class EndedBySignal(KeyboardInterrupt):
    """SIGTERM has come before the supervisor ran, or its terminal was closed. No application takes it for an error."""


class SupervisorSignals(LoggingSignals):
    """What a supervisor understands beside what any server does."""

    NUMBERS = (*Signals.NUMBERS, signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)

    def __init__(self) -> None:
        super().__init__()
        self._raises = False
        self._raised: type[KeyboardInterrupt] | None = None

    def interrupt(self) -> None:
        """Let signals that end a server raise in what the main thread does, until `queue` or `queue_quietly`."""
        self._raises = True
        if self._main:
            numbers = ENDING if signal.SIGHUP in self.ignored else (*ENDING, signal.SIGHUP)
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
            for number in numbers:
                signal.signal(number, self._raise)
                raise_signal(number)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def queue(self) -> None:
        """Let all signals wait in the queue again. Raises what was raised before, if the application has stopped it."""
        self.queue_quietly()
        if self._raised is not None:
            raise self._raised

    def queue_quietly(self) -> None:
        """Let all signals wait in the queue again: what was raised is on its way, or something else is."""
        self._raises = False
        if self._main:
            signal.pthread_sigmask(signal.SIG_BLOCK, (*ENDING, signal.SIGHUP))
            for number in (*ENDING, signal.SIGHUP):
                if signal.getsignal(number) == self._raise:
                    signal.signal(number, signal.SIG_DFL)
        self.catch_again()

    def _raise(self, number: int, _frame: FrameType | None) -> None:
        if self._raises:
            self._raised = EndedBySignal if number in (signal.SIGTERM, signal.SIGHUP) else KeyboardInterrupt
            raise self._raised
