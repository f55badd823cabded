"""Standard output and error: lines for the person at the terminal, or for a log collector.

A stream may be closed or full. It may be a pipe that is not read, or whose reader has gone; a terminal that hung up; or
an object of the application that raises. A line that cannot be written ends nothing, and delays nothing for more than
WRITE_TIMEOUT_S. Lines that the stream does not take are dropped and counted. A note gives their number once the stream
takes something again.
"""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from halfsync.errors import LoadError, reason_of
from halfsync.native.pipes import Quiet
from halfsync.native.system import Mutex, get_ident
from halfsync.native.writing import NO_ROOM, has_room, write_lines
from halfsync.runtime.originals import os

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from halfsync.errors import StartError

_dress: Callable[[str, str, str], str] | None = (
    None  # makes lines of the server's log; None: it is not set up
)

STANDARD = 3  # descriptors: 0, 1 and 2
WRITE_TIMEOUT_S = 1.0  # wait for a file that takes nothing; then do not wait again until it takes something


class Lines:
    """Whole lines to standard output or error. Any thread may write; nothing raises.

    A text goes out in one write, if the system allows it, so that lines of several processes do not mix. The object is
    a stream for `logging` and PEP 3333. If the program has replaced the stream in `sys`, lines go to the replacement,
    and to the descriptor only if the replacement raises.
    """

    def __init__(self, number: int, stream: str, name: str) -> None:
        self._number = number
        self._stream = stream
        self._name = name
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """Reset the state, also in a forked process: a thread may have held the lock; the parent reports the count."""
        self._lock = Mutex()  # reentrant: a finalizer may log in the middle of a write
        self.dropped = 0  # lines, since the last note about them
        self.error = 0  # errno of the last of them
        self._handing_on: set[int] = set()  # threads that are writing to a stream of the program
        self._torn = False  # the last text was cut in the middle of a line
        self._stalled = False

    def write(self, text: str) -> int:
        """Write whole lines, or drop them. Returns their length, as any stream does."""
        with suppress(Exception), Quiet():
            # A stream of the program may itself write here, for example to log. That goes straight to the descriptor.
            replaced = None if get_ident() in self._handing_on else self._replaced()
            if replaced is None or not self._hand_on(replaced, text):
                with self._lock:
                    self._put(text)
        return len(text)

    def write_straight(self, text: str) -> int:
        """Write as `write` does, but always to the descriptor."""
        with self._lock, suppress(Exception):
            self._put(text)
        return len(text)

    def as_it_is(self) -> Lines | Straight:
        """Return a stream that goes on writing as this one does now, even if the program replaces the one in `sys`."""
        return Straight(self) if self._replaced() is None else self

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Do nothing: nothing waits to be written."""

    def _replaced(self) -> TextIO | None:
        """Return the stream with which the program has replaced the original; None: it has not."""
        stream: TextIO | None = getattr(sys, self._stream, None)
        return None if stream is getattr(sys, f"__{self._stream}__", None) else stream

    def _hand_on(self, stream: TextIO, text: str) -> bool:
        """Write to a stream of the program. Return whether it took the text.

        The lock is not held: the stream may take others, such as the log's, whose holder may be about to write here.
        """
        self._handing_on.add(get_ident())
        try:
            stream.write(text)
            stream.flush()
        except Exception:  # noqa: BLE001 - it may be anything, and raise anything
            return False
        finally:
            self._handing_on.discard(get_ident())
        return True

    def _put(self, text: str) -> None:
        """Write a note about the lines that were dropped, if there are any, and then the text."""
        if self.dropped:
            lines = counted(self.dropped, "line was", "lines were")
            note = f"halfsync: {lines} dropped: {self._name} did not accept {'it' if self.dropped == 1 else 'them'}"
            note = _dressed("WARNING", note) if self is standard_error else f"{note}\n"
            if not self._send(f"\n{note}" if self._torn else note):
                self.dropped += text.count("\n")
                return
            self.dropped, self._torn = 0, False
        self._send(text, counts=True)

    def _send(self, text: str, *, counts: bool = False) -> bool:
        """Write as much as the stream takes. Return whether that is all. counts: count the lines not taken."""
        data = text.encode("utf-8", "backslashreplace")
        taken, error = write_lines(self._number, data, 0.0 if self._stalled else WRITE_TIMEOUT_S)
        self._stalled = error == NO_ROOM
        if not error:
            return True
        self.error = error
        if taken:
            self._torn = data[taken - 1 : taken] != b"\n"
        if counts:
            self.dropped += data.count(b"\n", taken)
        return False

    def settle(self) -> None:
        """Empty or drop the stream's buffers, so that the interpreter neither waits nor fails at its end."""
        replaced = self._replaced()
        if replaced is not None:
            try:
                replaced.flush()
            except Exception:  # noqa: BLE001 - it may be anything
                setattr(sys, self._stream, None)
        stream: TextIO | None = getattr(sys, f"__{self._stream}__", None)
        if stream is None or self._flush(stream):
            return
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._number)
            os.close(null)
        with suppress(Exception):
            stream.flush()

    def _flush(self, stream: TextIO) -> bool:
        """Write what waits in a stream's buffers, if there is room. Return whether they are empty now."""
        try:
            if not stream.closed:
                if not has_room(self._number, 0.0 if self._stalled else WRITE_TIMEOUT_S):
                    self._stalled = True
                    return False
                stream.flush()
        except Exception:  # noqa: BLE001 - closed and full files raise various exceptions
            return False
        return True

    def flush_stream(self) -> None:
        """Write what waits in the stream's buffers. What cannot be written is left there."""
        replaced = self._replaced()
        stream: TextIO | None = getattr(sys, self._stream, None)
        if replaced is not None:
            with suppress(Exception):
                replaced.flush()
        elif stream is not None:
            self._flush(stream)


class Straight:
    """A stream that writes straight to the descriptor of a `Lines`."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def write(self, text: str) -> int:
        """Write whole lines, or drop them. Returns their length."""
        return self._lines.write_straight(text)

    def flush(self) -> None:
        """Do nothing: nothing waits to be written."""


standard_output = Lines(1, "stdout", "standard output")
standard_error = Lines(2, "stderr", "standard error")


def counted(number: int, one: str, many: str) -> str:
    """Return a number with its noun, in the singular for 1."""
    return f"{number} {one if number == 1 else many}"


def dress_with(dress: Callable[[str, str, str], str]) -> None:
    """Let what is said on standard error be lines of the server's log. dress: takes level, text and traceback."""
    global _dress  # noqa: PLW0603 - so does standard error
    _dress = dress


def _dressed(level: str, text: str, traceback: str = "") -> str:
    """Return a text with its traceback as whole lines."""
    if _dress is not None:
        with suppress(Exception):
            return _dress(level, text, traceback)
    return f"{traceback}{text}\n"


def say(text: str, level: str = "WARNING") -> None:
    """Write a line, or a text of several lines, to standard error."""
    standard_error.write(_dressed(level, text))


def complain(error: StartError) -> None:
    """Tell why something could not start, with a traceback if there is one."""
    traceback = error.traceback if isinstance(error, LoadError) else ""
    standard_error.write(_dressed("ERROR", f"halfsync: {error}", traceback))


def hold_standard_descriptors() -> None:
    """Open the null device for each standard descriptor that is closed, before anything else is opened.

    Otherwise a socket would get its number, and what the application prints would go to a client.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < STANDARD:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def flush_output() -> None:
    """Write what waits in the buffers of both streams. What cannot be written is left: the server must go on."""
    with Quiet():
        for lines in (standard_output, standard_error):
            lines.flush_stream()


def settle_output() -> None:
    """Empty the buffers of the streams before the process ends, and report lines that were not printed.

    Without this the interpreter, which flushes its streams as it ends, may hang, or end with another exit code.
    """
    if (
        standard_output.dropped and standard_output.error != errno.EPIPE
    ):  # EPIPE: the reader has gone, and does not want it
        why = reason_of(OSError(standard_output.error, os.strerror(standard_output.error)))
        say(
            f"halfsync: standard output did not accept {counted(standard_output.dropped, 'line', 'lines')}: {why}"
        )
    with Quiet():
        for lines in (standard_output, standard_error):
            lines.settle()
