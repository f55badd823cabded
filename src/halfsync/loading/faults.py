"""Exceptions of the application: shown with a traceback that is cut down to the application's frames."""

import importlib
from typing import TYPE_CHECKING, NoReturn

from halfsync.errors import LoadError
from halfsync.runtime.originals import os
from halfsync.runtime.standard import FOR_TRACEBACKS, genuine

if TYPE_CHECKING:
    from traceback import FrameSummary, TracebackException

_OURS = os.path.dirname(__file__) + os.sep


def blame_application(error: BaseException, what: str, target: str) -> NoReturn:
    """Raise LoadError for an exception in the application, with its traceback cut down to the application's frames."""
    with genuine(*FOR_TRACEBACKS):
        import traceback  # noqa: PLC0415 - only a failure needs it

        report = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _strip(report)
        summary = " ".join("".join(traceback.format_exception_only(error)).strip().splitlines()[-1].split())
        text = "".join(report.format())
    problem = f"{what}: {summary}"
    remedy = "the traceback above shows where"
    raise LoadError(problem, origin=target, remedy=remedy, traceback=text) from error


def _strip(report: "TracebackException") -> None:
    """Remove the frames of this package and of the import system, from the causes of the exception too."""
    for frame in [frame for frame in report.stack if _is_ours(frame)]:
        report.stack.remove(frame)
    for other in (report.__cause__, report.__context__, *(report.exceptions or ())):
        if other is not None:
            _strip(other)


def application_frames(error: BaseException) -> "list[FrameSummary]":
    """Return the frames of an exception that are neither this package's nor the import system's."""
    import traceback  # noqa: PLC0415 - only a failure needs it

    return [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame)]


def _is_ours(frame: "FrameSummary") -> bool:
    return frame.filename == importlib.__file__ or frame.filename.startswith((_OURS, "<frozen importlib"))
