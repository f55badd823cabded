"""The server's log: what it says, to whom, and that it costs nothing until then."""

import logging
import subprocess
import sys

import pytest

from halfsync import log
from halfsync.settings import Settings


def raised(error: BaseException) -> BaseException:
    """Return the error as it is once it was raised, with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - to hand it back
        return caught


def test_the_logger_is_the_one_that_programs_configure(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "halfsync"):
        log.logger().info("%d lines", 3)
        log.logger().warning("a line")
        log.logger().error("a line", exc_info=(LookupError, LookupError(), None))
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("halfsync", "INFO"), ("halfsync", "WARNING"), ("halfsync", "ERROR"),
    ]  # fmt: skip
    assert {record.funcName for record in caplog.records} == {
        "test_the_logger_is_the_one_that_programs_configure"
    }


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


def test_what_cannot_be_logged_for_want_of_descriptors_is_written_plainly() -> None:
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
