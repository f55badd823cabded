"""The server's log: the logger "halfsync", loaded when there is something to say.

Programs that configure `logging` get the records as they wish; `halfsync serve` writes them to standard error.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from halfsync.forking import NoCopies
from halfsync.native.pipes import Quiet
from halfsync.output import say, standard_error

if TYPE_CHECKING:
    import logging
    from types import TracebackType

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class Log:
    """The server's log, for the server's own code. No call raises, whatever becomes of the line.

    A filter or a handler of the application may raise, in a thread of ours. Then a warning or an error is written
    straight to standard error, with a note about that. A copy of the process that one of them forks ends there.
    """

    def info(self, message: str, *values: object) -> None:
        """Log an event."""
        _log(LEVELS["info"], message, values)

    def warning(self, message: str, *values: object) -> None:
        """Log what may need an action."""
        _log(LEVELS["warning"], message, values)

    def error(self, message: str, *values: object, exc_info: ExcInfo | None = None) -> None:
        """Log what went wrong, with a traceback if there is one."""
        _log(LEVELS["error"], message, values, exc_info)


_LOG = Log()
_level: str | None = None  # that `logging` is to be set up with once somebody loads it
_ours: tuple[logging.Handler, str] | None = None  # the handler that was set up here, and its level


def set_up(level: str) -> None:
    """Send the server's log, and the application's where it has not set up its own, to standard error.

    `logging` costs half a megabyte and some milliseconds: where nobody has loaded it, it waits for the first line.
    """
    global _level  # noqa: PLW0603 - logging itself is a fact about the process
    _level = level
    if "logging" in sys.modules:
        load()


def logger() -> Log:
    """Return the server's log, which writes to the logger "halfsync"."""
    return _LOG


def load() -> None:
    """Load `logging` now, before the application is loaded and may replace what `logging` uses."""
    with suppress(Exception):
        _load()


def _load() -> logging.Logger:
    """Return the logger "halfsync". Importing `logging` costs time and memory, so it waits for the first use."""
    global _level, _ours  # noqa: PLW0603 - as above
    import logging  # noqa: PLC0415

    if _level is not None:
        level, _level = _level, None
        if not logging.root.handlers:
            _set_up_handler(level)
        elif _ours is not None and _ours[0] in logging.root.handlers and level != _ours[1]:
            logging.root.setLevel(level.upper())  # a reload has changed it
            _ours = _ours[0], level
    return logging.getLogger("halfsync")


def _set_up_handler(level: str) -> None:
    """Have `logging` write to standard error, with time, process and level."""
    global _ours  # noqa: PLW0603 - like logging itself
    import logging  # noqa: PLC0415 - it is there

    handler = logging.StreamHandler(standard_error.as_it_is())
    handler.handleError = _report_record  # type: ignore  # the original prints to a stream that may be broken
    logging.basicConfig(
        format="%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s",
        level=level.upper(),
        handlers=[handler],
    )
    _ours = handler, level


def _log(level: int, message: str, values: tuple[object, ...], exc_info: ExcInfo | None = None) -> None:
    """Log a line for a method of `Log`. If `logging` fails, write a warning or an error to standard error."""
    failure = ""
    with suppress(BaseException), Quiet():
        try:
            logger = _load()
            try:
                with NoCopies():
                    logger.log(level, message, *values, exc_info=exc_info, stacklevel=3)
            except BaseException as error:  # noqa: BLE001 - a filter may raise anything; the caller must outlive it
                failure = f" (the application's logging has raised {type(error).__name__})"
            else:
                return
        except BaseException:  # noqa: BLE001 - descriptors or memory may be short just now
            pass
        if level > LEVELS["info"]:
            _write_plainly(message, values, failure, exc_info)


def _write_plainly(message: str, values: tuple[object, ...], more: str, exc_info: ExcInfo | None) -> None:
    """Write a line, and a traceback, straight to standard error. Drop them if they cannot be written."""
    with suppress(BaseException):
        text = f"halfsync: {message % values}{more}\n"
        if exc_info is not None and "traceback" in sys.modules:
            with suppress(BaseException):
                text += "".join(sys.modules["traceback"].format_exception(*exc_info))
                exc_info = None
        standard_error.write(text)  # in one piece: other threads write there, too
        if exc_info is not None and not standard_error.dropped:
            sys.__excepthook__(*exc_info)  # it needs no module, and no descriptor


def _report_record(_: logging.LogRecord) -> None:
    """Report that a record could not be written as a line: its values do not fit its text."""
    import logging  # noqa: PLC0415 - it is there
    import traceback  # noqa: PLC0415 - few need it

    if logging.raiseExceptions:
        say(f"halfsync: a record of the log cannot be written:\n{traceback.format_exc().rstrip()}")


def warn(message: str, *values: object) -> None:
    """Log a warning about what an application does."""
    _log(LEVELS["warning"], message, values)


def report_application_error(error: BaseException, environ: dict[str, Any] | None) -> None:
    """Log what an application raised, with its traceback and the request it was for."""
    request = "a request"
    if environ is not None:
        with suppress(BaseException):  # the application may have put anything into it
            request = f"{environ.get('REQUEST_METHOD')} {environ.get('REQUEST_URI')}"
    _log(LEVELS["error"], "the application failed on %s", (request,), _exc_info_of(error))


def report_unprepared(error: BaseException, status: int) -> None:
    """Log the error that kept the application from being called for a request, and the status of the answer."""
    _log(
        LEVELS["error"], "answering a request with %d: it cannot be given to the application", (status,),
        _exc_info_of(error),
    )  # fmt: skip


def report_handler_error(error: BaseException) -> None:
    """Log what a stream's handler raised, with its traceback."""
    _log(LEVELS["error"], "a stream's handler failed", (), _exc_info_of(error))


def _exc_info_of(error: BaseException) -> ExcInfo:
    """Return an exception as `logging` wants it, without running any code of it: its class is the application's."""
    return type(error), error, BaseException.__dict__["__traceback__"].__get__(error)
