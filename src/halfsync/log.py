"""The server's log: the logger "halfsync". Its lines are written whatever the application does with `logging`.

A server in the foreground calls `set_up`: this logger, and no other, gets a handler that writes to standard error, and
its records do not propagate. An application takes the lines over by giving the logger handlers, or by letting its
records propagate to some (docs/logging.md). A `Server` in a program sets nothing up: the program decides what becomes
of the records.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from halfsync.native.pipes import Quiet
from halfsync.runtime.forking import NoCopies
from halfsync.runtime.originals import localtime, os, time
from halfsync.runtime.output import say, standard_error
from halfsync.runtime.standard import FOR_TRACEBACKS, genuine

if TYPE_CHECKING:
    import logging
    from types import TracebackType

    from halfsync.runtime.output import Lines, Straight

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

NAME = "halfsync"
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
LABELS = {number: name.upper() for name, number in LEVELS.items()}


class Log:
    """The server's log, for the server's own code. No call raises, even if the line cannot be written.

    A filter or a handler of the application may raise in one of our threads. The line is then written straight to
    standard error, with a note about that. If a filter or a handler forks, the copy of the process ends there.
    """

    def info(self, message: str, *values: object) -> None:
        """Log an event."""
        _log(LEVELS["info"], message, values)

    def warning(self, message: str, *values: object) -> None:
        """Log something that may need action."""
        _log(LEVELS["warning"], message, values)

    def error(self, message: str, *values: object, exc_info: ExcInfo | None = None) -> None:
        """Log a failure, with a traceback if there is one."""
        _log(LEVELS["error"], message, values, exc_info)


_LOG = Log()
_level: int | None = None  # the lowest level that is written; None before `set_up`
_handler: logging.Handler | None = None  # that `set_up` gave to the logger, unless it had some
_stream: Lines | Straight = standard_error  # that the handler writes to


def set_up(level: str) -> None:
    """Write the server's log to standard error, from this level on. Call this before the application is loaded.

    A later call, by a forked process or a reload, changes the level if it differs, and keeps what the application has
    done to the logger. A logger that has handlers at the first call belongs to the program, and is left alone.
    """
    global _level, _handler, _stream  # noqa: PLW0603 - logging itself belongs to the process
    before, _level = _level, LEVELS[level]
    if before == _level:
        return
    with suppress(Exception):
        logger = _logger()
        if before is None and not logger.handlers:
            _stream = standard_error.as_it_is()
            _handler = _make_handler()
            logger.addHandler(_handler)
            logger.propagate = False
        if _handler in logger.handlers:
            logger.setLevel(_level)


def logger() -> Log:
    """Return the server's log, which writes to the logger "halfsync"."""
    return _LOG


def _logger() -> logging.Logger:
    """Return the logger "halfsync". Importing `logging` costs time and memory, so it waits for the first use."""
    import logging  # noqa: PLC0415

    return logging.getLogger(NAME)


def _make_handler() -> logging.Handler:
    """Return a handler that writes each record in the server's own format, unless it has a formatter that works.

    It has no lock: each line is a single write, and a greenlet library would replace the lock with its own.
    """
    import logging  # noqa: PLC0415 - loaded already

    class Handler(logging.Handler):
        def createLock(self) -> None:  # noqa: N802 - the base class's name
            self.lock = None

        def handle(self, record: logging.LogRecord) -> bool:
            passed = self.filter(record)
            if passed:
                self.emit(passed if isinstance(passed, logging.LogRecord) else record)
            return bool(passed)

        def emit(self, record: logging.LogRecord) -> None:
            text = None
            with suppress(Exception):
                text = None if self.formatter is None else self.formatter.format(record)
            try:
                _stream.write(f"{_format_record(record) if text is None else text}\n")
            except Exception:  # noqa: BLE001 - a filter or a record factory may have changed the record
                _report_record()
                _write_plainly(record.levelno, str(record.msg), record.exc_info or None)

    return Handler()


def _log(level: int, message: str, values: tuple[object, ...], exc_info: ExcInfo | None = None) -> None:
    """Log a line for a method of `Log`. Write it straight to standard error if `logging` does not take it."""
    least, failure = LEVELS["error"], ""
    with suppress(BaseException), Quiet():
        try:
            if exc_info is not None:
                _prepare_traceback()
            logger = _logger()
            if _takes(logger, level):
                try:
                    # Format the text here: the application's record classes may format it differently.
                    text = message % values if values else message
                    with NoCopies():
                        logger.log(level, text, exc_info=exc_info, stacklevel=3)
                except BaseException as error:  # noqa: BLE001 - a filter may raise anything; the caller must outlive it
                    least = LEVELS["warning"]
                    failure = f" (the application's logging has raised {type(error).__name__})"
                else:
                    return
        except BaseException:  # noqa: BLE001 - descriptors or memory may be short just now
            least = LEVELS["warning"]
        if level >= (least if _level is None else _level):
            _write_plainly(level, f"{message % values if values else message}{failure}", exc_info)


def _takes(logger: logging.Logger, level: int) -> bool:
    """Return whether `logging` may decide about a line. If not, the line is written plainly if the settings ask for it.

    An application that turns `logging` off, for loggers that it does not know or up to a level, means its own lines.
    The same holds for an application that has no handler of its own for our logger: the level of that logger, and of
    the handler that it was given here, is a matter of the settings.
    """
    if logger.disabled or logger.manager.disable >= level:
        return False
    if not logger.hasHandlers():
        return _level is None  # in a program without handlers, logging has one of last resort
    if _level is None or _has_others(logger):
        return True
    return logger.isEnabledFor(level) and (_handler is None or level >= _handler.level)


def _has_others(logger: logging.Logger) -> bool:
    """Return whether a record of the logger reaches handlers other than the one that it was given here."""
    each: logging.Logger | None = logger
    while each is not None:
        if any(handler is not _handler for handler in each.handlers):
            return True
        each = each.parent if each.propagate else None
    return False


def _format_record(record: logging.LogRecord) -> str:
    """Return a record as a line, with its traceback below it. This uses nothing that an application can set."""
    text = _format(record.created, record.levelname, record.name, record.getMessage())
    if record.exc_info and record.exc_info[0]:
        text += f"\n{_format_traceback(record.exc_info).rstrip()}"
    return f"{text}\n{record.stack_info}" if record.stack_info else text


def _format(when: float, label: str, name: str, message: str) -> str:
    """Return a line of the log: time, process, level, logger and message."""
    year, month, day, hour, minute, second, *_ = localtime(when)
    return (
        f"{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{int(when * 1000) % 1000:03} "
        f"[{os.getpid()}] {label} {name}: {message}"
    )


def _format_traceback(exc_info: Any, *, chain: bool = True) -> str:
    with genuine(*FOR_TRACEBACKS):
        return "".join(sys.modules["traceback"].format_exception(*exc_info, chain=chain))


def _prepare_traceback() -> None:
    """Import the modules that the application's handlers need for a traceback."""
    with genuine(*FOR_TRACEBACKS):
        for name in FOR_TRACEBACKS:
            __import__(name)


def _write_plainly(level: int, message: str, exc_info: Any) -> None:
    """Write a line, and a traceback, straight to standard error. Drop them if they cannot be written."""
    with suppress(BaseException):
        text = f"{_format(time(), LABELS.get(level, str(level)), NAME, message)}\n"
        if exc_info is not None and "traceback" in sys.modules:
            with suppress(BaseException):
                text += _format_traceback(exc_info)
                exc_info = None
        _stream.write(text)  # in one piece: other threads write there too
        if exc_info is not None and not standard_error.dropped:
            sys.__excepthook__(*exc_info)  # needs no module and no descriptor


def _report_record() -> None:
    """Report that a record could not be formatted: its values do not fit its text."""
    import logging  # noqa: PLC0415 - loaded already

    if logging.raiseExceptions:
        _prepare_traceback()
        said = _format_traceback(sys.exc_info(), chain=False)  # without the error that the record reports
        say(f"halfsync: a record of the log cannot be written:\n{said.rstrip()}")


def warn(message: str, *values: object) -> None:
    """Log a warning about something that an application does."""
    _log(LEVELS["warning"], message, values)


def report_application_error(error: BaseException, environ: dict[str, Any] | None) -> None:
    """Log what an application raised, with its traceback and the request."""
    request = "a request"
    if environ is not None:
        with suppress(BaseException):  # the application may have put anything into it
            request = f"{environ.get('REQUEST_METHOD')} {environ.get('REQUEST_URI')}"
    _log(LEVELS["error"], "the application failed on %s", (request,), _exc_info_of(error))


def report_unprepared(error: BaseException, status: int) -> None:
    """Log the error that prevented a call of the application for a request, and the status of the answer."""
    _log(
        LEVELS["error"], "answering a request with %d: it cannot be given to the application", (status,),
        _exc_info_of(error),
    )  # fmt: skip


def report_handler_error(error: BaseException) -> None:
    """Log what a stream's handler raised, with its traceback."""
    _log(LEVELS["error"], "a stream's handler failed", (), _exc_info_of(error))


def _exc_info_of(error: BaseException) -> ExcInfo:
    """Return an exception as `logging` expects it, without running code of its class, which is the application's."""
    return type(error), error, BaseException.__dict__["__traceback__"].__get__(error)
