"""A supervisor's signals from its first moment on: before it opens anything, and while it loads an application.

While it opens its sockets and files, all signals wait: an exception between the system call that makes a file and the
line that notes it would leave the file behind. Then, until it runs, the signals that end it raise KeyboardInterrupt, so
that an application that is slow to load does not delay the end; what was opened is closed, and its files are removed. A
SIGHUP for a closed terminal is one of them. All other signals wait in the queue until it runs.
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
    """SIGTERM came, or the terminal was closed, before the supervisor ran. Applications do not take it for an error."""


class SupervisorSignals(LoggingSignals):
    """The signals of any server, and those that only a supervisor obeys."""

    NUMBERS = (*Signals.NUMBERS, signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)

    def __init__(self) -> None:
        super().__init__()
        self._raises = False
        self._raised: type[KeyboardInterrupt] | None = None

    def interrupt(self) -> None:
        """Let signals that end a server raise in the main thread, also waiting ones, until `queue`, `queue_quietly`."""
        self._raises = True
        if self._main:
            numbers = ENDING if signal.SIGHUP in self.ignored else (*ENDING, signal.SIGHUP)
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
            try:
                for number in numbers:
                    signal.signal(number, self._raise)
                    raise_signal(number)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def queue(self) -> None:
        """Let all signals wait in the queue again. Raises what was raised before, if the application has caught it."""
        self.queue_quietly()
        if self._raised is not None:
            raise self._raised

    def queue_quietly(self) -> None:
        """Let all signals wait in the queue again, and raise nothing: an exception is on its way already."""
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
