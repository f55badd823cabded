"""The server's log: the logger "halfsync". Its lines are written whatever the application does with `logging`.

A server in the foreground calls `set_up`: this logger, and no other, gets a handler that writes to standard error, and
its records do not propagate. An application takes the lines over by giving the logger handlers, or by letting its
records propagate to some (docs/logging.md). A `Server` in a program sets nothing up: the program decides what becomes
of the records.

Each line has the time and the process, as text or as one JSON object. That holds from `set_up` on for what the server
says without the logger, too (`runtime/output.py`).
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from halfsync.native.pipes import Quiet
from halfsync.runtime.forking import NoCopies
from halfsync.runtime.originals import localtime, os, time
from halfsync.runtime.output import dress_with, say, standard_error
from halfsync.runtime.standard import FOR_TRACEBACKS, genuine

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from halfsync.runtime.output import Lines, Straight

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

NAME = "halfsync"
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
LABELS = {number: name.upper() for name, number in LEVELS.items()}
DETAILS = "halfsync"  # the attribute of a record that has the parts of its line, by their keys in JSON
# The keys of a line that is a JSON object. docs/logging.md has them.
KEYS = {
    "time": "when, as `2026-11-29T13:00:00.123+0000`",
    "pid": "the process",
    "level": "`DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`",
    "logger": "`halfsync`, or a logger below it",
    "message": "what the line says as text",
    "traceback": "of an exception, with its line ends",
    "stack": "of a record that an application has made with `stack_info`",
    "remote": "of a refusal: the client's address; missing for a unix socket",
    "remote_port": "of a refusal: the client's port, if it is known",
    "peer": "of a refusal: the address of the other end of the connection, which may be a proxy",
    "peer_port": "of a refusal: its port",
    "request_id": "of a refusal, a slow or a stuck request, or one on which the application failed: the request's id",
    "trace_id": "of a slow or a stuck request: the trace that it belongs to",
    "status": "of a refusal: the status of the answer; missing if the connection was closed without one",
    "reason": "of a refusal: the reason in words",
    "received": "of a refusal: the request line and the line that was refused, escaped and cut",
    "left_out": "of a refusal: how many refusals before it have no line of their own",
}


class Log:
    """The server's log, for the server's own code. No call raises, even if the line cannot be written.

    A filter or a handler of the application may raise in one of our threads. The line is then written straight to
    standard error, with a note about that. If a filter or a handler forks, the copy of the process ends there.
    """

    def info(self, message: str, *values: object, details: Mapping[str, object] | None = None) -> None:
        """Log an event. details: the parts of the line, for JSON."""
        _log(LEVELS["info"], message, values, details=details)

    def warning(self, message: str, *values: object, details: Mapping[str, object] | None = None) -> None:
        """Log something that may need action. details: as for `info`."""
        _log(LEVELS["warning"], message, values, details=details)

    def error(
        self,
        message: str,
        *values: object,
        exc_info: ExcInfo | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """Log a failure, with a traceback if there is one. details: as for `info`."""
        _log(LEVELS["error"], message, values, exc_info, details)


_LOG = Log()
_level: int | None = None  # the lowest level that is written; None before `set_up`
_handler: logging.Handler | None = None  # that `set_up` gave to the logger, unless it had some
_stream: Lines | Straight = standard_error  # that the handler writes to
_quote: Callable[[str], str] | None = None  # writes a text as JSON; None: lines are text


def set_up(level: str, form: str = "text") -> None:
    """Write the server's log to standard error, from this level on. Call this before the application is loaded.

    form: "text" or "json". A later call, by a forked process or a reload, changes level and form if they differ, and
    keeps what the application has done to the logger. A logger that has handlers at the first call belongs to the
    program, and is left alone.
    """
    global _level, _handler, _stream, _quote  # noqa: PLW0603 - logging itself belongs to the process
    _quote = _find_quote() if form == "json" else None
    dress_with(_dress)
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


def _find_quote() -> Callable[[str], str]:
    """Return what writes a text as JSON, in ASCII."""
    with genuine():
        from _json import encode_basestring_ascii  # noqa: PLC0415 - few servers log JSON

    return encode_basestring_ascii


def logger() -> Log:
    """Return the server's log, which writes to the logger "halfsync"."""
    return _LOG


def logger_for_hooks() -> logging.Logger:
    """Return the logger that the server gives to hooks: one below "halfsync", with all methods of `logging`."""
    return _logger().getChild("hooks")


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


def _log(
    level: int,
    message: str,
    values: tuple[object, ...],
    exc_info: ExcInfo | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
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
                        extra = None if details is None else {DETAILS: details}
                        logger.log(level, text, exc_info=exc_info, stacklevel=3, extra=extra)
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
    traceback = ""
    if record.exc_info and record.exc_info[0]:
        traceback = _format_traceback(record.exc_info).rstrip()
    message, stack = record.getMessage(), record.stack_info or ""
    if _quote is None:
        text = _format(record.created, record.levelname, record.name, message)
        return "\n".join(part for part in (text, traceback, stack) if part)
    more = {"traceback": traceback, "stack": stack}
    details = getattr(record, DETAILS, None) or {}
    return _format_json(record.created, record.levelname, record.name, message, {**details, **more})


def _format(when: float, label: str, name: str, message: str) -> str:
    """Return a line of the log: time, process, level, logger and message."""
    year, month, day, hour, minute, second, *_ = localtime(when)
    return (
        f"{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{int(when * 1000) % 1000:03} "
        f"[{os.getpid()}] {label} {name}: {message}"
    )


def _format_json(when: float, label: str, name: str, message: str, more: Mapping[str, object]) -> str:
    """Return a line of the log as one JSON object. more: further keys; those that are empty are left out."""
    assert _quote is not None
    at = localtime(when)
    sign, offset = ("-" if at.tm_gmtoff < 0 else "+"), abs(at.tm_gmtoff) // 60
    stamp = (
        f"{at.tm_year}-{at.tm_mon:02}-{at.tm_mday:02}T{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
        f".{int(when * 1000) % 1000:03}{sign}{offset // 60:02}{offset % 60:02}"
    )
    values = {"time": stamp, "pid": os.getpid(), "level": label, "logger": name, "message": message, **more}
    written = (
        f"{_quote(key)}: {value if type(value) is int else _quote(str(value))}"
        for key, value in values.items()
        if value not in (None, "")
    )
    return f"{{{', '.join(written)}}}"


def _dress(level: str, text: str, traceback: str = "") -> str:
    """Return what is said without the logger as lines of the log."""
    message = text.removeprefix(f"{NAME}: ")
    if _quote is not None:
        return _format_json(time(), level, NAME, message, {"traceback": traceback.rstrip()}) + "\n"
    return f"{traceback}{_format(time(), level, NAME, message)}\n"


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
        label, traceback = LABELS.get(level, str(level)), ""
        if exc_info is not None and "traceback" in sys.modules:
            with suppress(BaseException):
                traceback = _format_traceback(exc_info)
                exc_info = None
        if _quote is None:
            text = f"{_format(time(), label, NAME, message)}\n{traceback}"
        else:
            text = _format_json(time(), label, NAME, message, {"traceback": traceback.rstrip()}) + "\n"
        _stream.write(text)  # in one piece: other threads write there too
        if exc_info is not None and not standard_error.dropped:
            sys.__excepthook__(*exc_info)  # needs no module and no descriptor


def _report_record() -> None:
    """Report that a record could not be formatted: its values do not fit its text."""
    import logging  # noqa: PLC0415 - loaded already

    if logging.raiseExceptions:
        _prepare_traceback()
        said = _format_traceback(sys.exc_info(), chain=False)  # without the error that the record reports
        say(f"halfsync: a record of the log cannot be written:\n{said.rstrip()}", "ERROR")


def warn(message: str, *values: object) -> None:
    """Log a warning about something that an application does."""
    _log(LEVELS["warning"], message, values)


def report_application_error(error: BaseException, environ: dict[str, Any] | None) -> None:
    """Log what an application raised, with its traceback and the request."""
    request, given = "a request", ""
    if environ is not None:
        with suppress(BaseException):  # the application may have put anything into it
            given = environ.get("halfsync.request_id", "")
            request = f"{environ.get('REQUEST_METHOD')} {environ.get('REQUEST_URI')}"
    ids = {"request_id": given if type(given) is str else ""}
    _log(
        LEVELS["error"], "the application failed on %s%s", (request, ids_text(ids)), _exc_info_of(error), ids
    )


def ids_text(ids: Mapping[str, str]) -> str:
    """Return the ids of a request as a line has them behind its name. ids: by key; empty ones are left out."""
    known = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in ids.items() if value)
    return f" ({known})" if known else ""


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
