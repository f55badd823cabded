"""The server's log: the logger "halfsync", loaded when there is something to say.

Programs that configure `logging` get the records as they wish; `halfsync serve` writes them to standard error.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

from halfsync.forking import NoCopies

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class Makeshift:
    """Stands in for the logger where `logging` cannot be loaded, since descriptors or memory are short just now."""

    def info(self, message: str, *values: object) -> None:
        """Say nothing: it can wait."""

    def error(self, message: str, *values: object, exc_info: tuple[Any, Any, Any] | None = None) -> None:
        """Write a line, and a traceback, to standard error."""
        if sys.stderr is None:
            return
        with suppress(OSError, ValueError):
            sys.stderr.write(f"halfsync: {message % values}\n")
            if exc_info is not None:
                sys.__excepthook__(*exc_info)  # which needs no module, nor a descriptor
            sys.stderr.flush()

    warning = error


class Log:
    """The logger "halfsync". Its filters and handlers may be the application's: a copy that they fork ends there."""

    def info(self, message: str, *values: object) -> None:
        """Log what happens."""
        self._log("info", message, values)

    def warning(self, message: str, *values: object) -> None:
        """Log what should not be."""
        self._log("warning", message, values)

    def error(self, message: str, *values: object, exc_info: tuple[Any, Any, Any] | None = None) -> None:
        """Log what has failed, with a traceback if there is one."""
        self._log("error", message, values, exc_info)

    def _log(
        self,
        level: str,
        message: str,
        values: tuple[object, ...],
        exc_info: tuple[Any, Any, Any] | None = None,
    ) -> None:
        import logging  # noqa: PLC0415 - loaded already

        with NoCopies():
            logging.getLogger("halfsync").log(
                LEVELS[level], message, *values, exc_info=exc_info, stacklevel=3
            )


_LOG = Log()
_level: str | None = None  # that `logging` is to be set up with once somebody loads it


def set_up(level: str) -> None:
    """Send the server's log, and the application's where it has not set up its own, to standard error.

    `logging` costs half a megabyte and some milliseconds: where nobody has loaded it, it waits for the first line.
    """
    global _level  # noqa: PLW0603 - logging itself is a fact about the process
    _level = level
    if "logging" in sys.modules:
        logger()


def logger() -> Log | Makeshift:
    """Return the log. Importing `logging` costs time and memory, so it waits for the first use."""
    global _level
    try:
        import logging  # noqa: PLC0415 - as above
    except (OSError, MemoryError):
        return Makeshift()

    if _level is not None:
        level, _level = _level, None
        logging.basicConfig(
            format="%(asctime)s [%(process)d] %(levelname)s %(name)s: %(message)s",
            level=level.upper(),
            stream=sys.stderr,
        )
    return _LOG


def warn(message: str, *values: object) -> None:
    """Log a warning about what an application does."""
    logger().warning(message, *values)


def report_application_error(error: BaseException, environ: dict[str, Any] | None) -> None:
    """Log what an application raised, with its traceback and the request it was for."""
    request = "a request"
    if environ is not None:
        request = f"{environ.get('REQUEST_METHOD')} {environ.get('REQUEST_URI')}"
    logger().error(
        "the application failed on %s", request, exc_info=(type(error), error, error.__traceback__)
    )


def report_handler_error(error: BaseException) -> None:
    """Log what a stream's handler raised, with its traceback."""
    logger().error("a stream's handler failed", exc_info=(type(error), error, error.__traceback__))
