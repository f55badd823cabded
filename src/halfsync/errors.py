"""All errors of halfsync, in one class tree.

An error holds data: what was wrong, where the fault came from, and what to do about it. ``str()`` makes the line that
a person reads from them, at the edge. Nothing in halfsync parses that line.
"""

from collections.abc import Iterable
from typing import ClassVar

from halfsync.runtime.standard import genuine

PART_MOST = 500  # characters of each part of a line: no real path or name is longer


class HalfsyncError(Exception):
    """The base of all errors that halfsync raises itself."""

    exit_code: ClassVar[int] = 1


class ProtocolError(HalfsyncError):
    """The peer broke HTTP or exceeded a limit: answer with `status`, close, and parse nothing more from it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        with genuine():
            from http import HTTPStatus  # noqa: PLC0415 - not needed at start-up

        return f"{self.status} {HTTPStatus(self.status).phrase}: {self.reason}"


class StartError(HalfsyncError):
    """The server cannot start, because of its settings, its application or its sockets.

    ``problem`` says what is wrong; ``origin`` where it came from (a flag, a variable, a file, a target; may be empty);
    ``remedy`` what to do about it (may be empty). ``str()`` gives ``origin: problem; remedy`` on one line.
    """

    problem: str
    origin: str
    remedy: str

    def __init__(self, problem: str, *, origin: str = "", remedy: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.origin = origin
        self.remedy = remedy

    def __str__(self) -> str:
        origin, problem, remedy = (_cut(part) for part in (self.origin, self.problem, self.remedy))
        text = f"{origin}: {problem}" if origin else problem
        return f"{text}; {remedy}" if remedy else text


def reason_of(error: OSError) -> str:
    """Return why a system call failed, in lower case and in English, whatever the application's locale is."""
    from halfsync.native.system import reason_in_english  # noqa: PLC0415 - settings must be readable without a build

    reason = error.strerror or str(error)
    if error.errno is not None and error.errno > 0:
        reason = reason_in_english(error.errno, reason)
    return reason.lower()


def near(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name most similar to an unknown one, or None. cutoff: the least similarity, from 0 to 1."""
    with genuine():
        import difflib  # noqa: PLC0415 - only a mistake needs it

    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def _cut(text: str) -> str:
    """Return a part of an error on one line, with its middle cut out if it is longer than `PART_MOST`."""
    line = " ".join(text.split())
    return line if len(line) <= PART_MOST else f"{line[: PART_MOST - 103]}...{line[-100:]}"


class UsageError(StartError):
    """A setting or an argument is invalid."""

    exit_code: ClassVar[int] = 2


class LoadError(StartError):
    """The application could not be loaded.

    ``traceback`` is the formatted traceback of the application's own exception, without the frames of the loader and
    the import system. It is empty if no code of the application was at fault.
    """

    exit_code: ClassVar[int] = 3
    traceback: str

    def __init__(self, problem: str, *, origin: str = "", remedy: str = "", traceback: str = "") -> None:
        super().__init__(problem, origin=origin, remedy=remedy)
        self.traceback = traceback


class BindError(StartError):
    """A listening socket could not be opened. ``errno`` is the system's reason, if it gave one."""

    exit_code: ClassVar[int] = 4
    errno: int | None

    def __init__(self, problem: str, *, origin: str = "", remedy: str = "", errno: int | None = None) -> None:
        super().__init__(problem, origin=origin, remedy=remedy)
        self.errno = errno
