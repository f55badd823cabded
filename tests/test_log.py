"""The server's log: its lines, their handlers, and that it costs nothing before the first line."""

import io
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from halfsync import log
from halfsync.settings import Settings


def raised(error: BaseException) -> BaseException:
    """Return the error as it is once it was raised, with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - to hand it back
        return caught


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_lines_go_to_the_logger_that_programs_configure(level: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    getattr(log.logger(), level)("said %d times", 2)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("halfsync", log.LEVELS[level])
    assert record.getMessage() == "said 2 times"
    assert (record.pathname, record.funcName) == (
        __file__,
        "test_lines_go_to_the_logger_that_programs_configure",
    )


class Raising(logging.Handler):
    """A filter, or a handler, that fails."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def filter(self, record: logging.LogRecord) -> bool:
        raise self._error

    def handle(self, record: logging.LogRecord) -> bool:
        raise self._error


@pytest.fixture(params=["filter", "handler"])
def raising(request: pytest.FixtureRequest) -> Iterator[Callable[[BaseException], None]]:
    """Return a function that makes the application's logging fail."""
    target = logging.getLogger("halfsync")
    added: list[Raising] = []

    def add(error: BaseException) -> None:
        added.append(Raising(error))
        if request.param == "filter":
            target.addFilter(added[0])
        else:
            target.addHandler(added[0])

    yield add
    target.removeFilter(added[0])
    target.removeHandler(added[0])


ERRORS = [
    ValueError("no"),
    SystemExit(3),
    KeyboardInterrupt(),
    MemoryError(),
    RecursionError(),
    OSError(28, "full"),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_line_that_the_logging_of_the_application_fails_on_is_written_plainly(
    error: BaseException, raising: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    raising(error)
    log.warn("the field %r is dropped", "X-A")
    log.logger().error("%s", "went wrong")
    log.logger().info("nothing")
    log.report_application_error(raised(ZeroDivisionError("in the application")), {"REQUEST_URI": "/a"})
    log.report_handler_error(raised(ZeroDivisionError("in the handler")))
    log.report_unprepared(raised(OSError(24, "no descriptors")), 503)
    told = capsys.readouterr().err
    failed = f" (the application's logging has raised {type(error).__name__})\n"
    assert f"halfsync: the field 'X-A' is dropped{failed}" in told
    assert f"halfsync: went wrong{failed}" in told
    assert f"halfsync: the application failed on None /a{failed}" in told
    assert "ZeroDivisionError: in the application" in told
    assert "ZeroDivisionError: in the handler" in told
    assert "with 503" in told and "no descriptors" in told


@pytest.mark.parametrize("stream", [None, object(), io.TextIOWrapper(io.BytesIO(), "ascii")])
def test_nothing_is_raised_even_if_standard_error_fails_too(
    stream: Any, raising: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(ValueError("no"))
    if stream is not None and hasattr(stream, "close"):
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    log.warn("the field %r is dropped", "X-A")
    log.report_application_error(raised(ValueError("no")), None)


class Evil:
    """What no code can do anything with."""

    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(3)

    def __format__(self, form: str) -> str:
        raise SystemExit(3)

    __str__ = __repr__ = __format__  # type: ignore[assignment]


class EvilError(Exception):
    """An exception that raises whatever it is asked."""

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise SystemExit(3)

    def __str__(self) -> str:
        raise SystemExit(3)

    __repr__ = __str__


def test_objects_of_the_application_may_raise_when_they_are_logged() -> None:
    log.report_application_error(raised(EvilError()), {"REQUEST_METHOD": Evil(), "REQUEST_URI": Evil()})
    log.report_handler_error(raised(EvilError()))
    log.warn("%s", Evil())


def test_a_warning_is_formatted_by_logging(caplog: pytest.LogCaptureFixture) -> None:
    log.warn("the header %r is dropped, %d times", "X-A", 3)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("halfsync", logging.WARNING)
    assert record.getMessage() == "the header 'X-A' is dropped, 3 times"


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_an_application_error_names_its_request_and_shows_its_traceback(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    log.report_application_error(raised(error), {"REQUEST_METHOD": "PUT", "REQUEST_URI": "/a%20b?c"})
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("halfsync", logging.ERROR)
    assert record.getMessage() == "the application failed on PUT /a%20b?c"
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert "in raised" in caplog.text


@pytest.mark.parametrize(
    ("environ", "told"),
    [(None, "the application failed on a request"), ({}, "the application failed on None None")],
)
def test_an_application_may_have_emptied_its_environ(
    environ: dict[str, object] | None, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    log.report_application_error(raised(ValueError()), environ)
    assert caplog.records[0].getMessage() == told


@pytest.mark.parametrize("level", log.LEVELS)
def test_the_levels_are_those_of_logging_and_of_the_settings(level: str) -> None:
    assert log.LEVELS[level] == logging.getLevelNamesMapping()[level.upper()]
    assert Settings.from_options(log_level=level).log_level == level


def test_logging_is_not_loaded_before_there_is_something_to_say() -> None:
    code = "import sys, halfsync.log; print('logging' in sys.modules); halfsync.log.warn('said')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert (run.stdout, run.stderr) == ("False\n", "said\n")


def test_lines_that_cannot_be_logged_without_descriptors_are_written_plainly() -> None:
    code = """
import resource, sys
from halfsync import log
assert "logging" not in sys.modules
def fail(): raise RuntimeError("no database")
try:
    fail()
except RuntimeError as caught:
    error = caught
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
log.report_application_error(error, {"REQUEST_METHOD": "GET", "REQUEST_URI": "/a"})
log.warn("the field %r is dropped", "X-A")
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
log.warn("and now there is a log")
assert "logging" in sys.modules
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "halfsync: the application failed on GET /a" in ran.stderr
    assert "RuntimeError: no database" in ran.stderr and "in fail" in ran.stderr
    assert "halfsync: the field 'X-A' is dropped" in ran.stderr
    assert "and now there is a log" in ran.stderr
