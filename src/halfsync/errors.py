"""Every error of halfsync, as one tree.

An error holds data: what was wrong, where the fault came from, and what to do about it. The line that a
person reads is made from these by ``str()``, at the edge, and nothing in halfsync ever parses that line
again.
"""

from collections.abc import Iterable
from typing import ClassVar

from halfsync.runtime.standard import genuine

PART_MOST = 500  # characters of each part of a line: no path and no name that is meant has more


class HalfsyncError(Exception):
    """Anything that halfsync itself finds wrong; catch this to catch all of it."""

    exit_code: ClassVar[int] = 1


class ProtocolError(HalfsyncError):
    """The peer broke HTTP or passed a limit: answer with `status`, close, and parse nothing more of it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        with genuine():
            from http import HTTPStatus  # noqa: PLC0415 - a server starts without it

        return f"{self.status} {HTTPStatus(self.status).phrase}: {self.reason}"


class StartError(HalfsyncError):
    """What keeps a server from starting: its settings, its application or its sockets.

    ``problem`` says what is wrong, ``origin`` where it came from (a flag, a variable, a file, a target;
    may be empty), ``remedy`` what to do about it (may be empty). ``str()`` gives ``origin: problem;
    remedy`` on one line.
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
    """Return why a system call failed, in lower case and in English, whatever the application's locale."""
    from halfsync.native.system import reason_in_english  # noqa: PLC0415 - settings are read without a build, too

    reason = error.strerror or str(error)
    if error.errno is not None and error.errno > 0:
        reason = reason_in_english(error.errno, reason)
    return reason.lower()


def near(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that an unknown one was probably meant to be. cutoff: how like it must be, from 0 to 1."""
    with genuine():
        import difflib  # noqa: PLC0415 - only a mistake needs it

    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def _cut(text: str) -> str:
    """Put a part of an error on one line, without its middle if it is longer than any that helps."""
    line = " ".join(text.split())
    return line if len(line) <= PART_MOST else f"{line[: PART_MOST - 103]}...{line[-100:]}"


class UsageError(StartError):
    """A setting or an argument is not one that halfsync can use."""

    exit_code: ClassVar[int] = 2


class LoadError(StartError):
    """The application could not be loaded.

    ``traceback`` is the formatted traceback of the application's own exception, without the frames of
    the loader and of the import system; empty when no code of the application was at fault.
    """

    exit_code: ClassVar[int] = 3
    traceback: str

    def __init__(self, problem: str, *, origin: str = "", remedy: str = "", traceback: str = "") -> None:
        super().__init__(problem, origin=origin, remedy=remedy)
        self.traceback = traceback


class BindError(StartError):
    """A listening socket could not be opened; ``errno`` is the system's reason, where it gave one."""

    exit_code: ClassVar[int] = 4
    errno: int | None

    def __init__(self, problem: str, *, origin: str = "", remedy: str = "", errno: int | None = None) -> None:
        super().__init__(problem, origin=origin, remedy=remedy)
        self.errno = errno
