"""The server's log: its lines, their handlers, and that it costs nothing before the first line."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
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


def test_an_application_error_has_the_id_of_its_request(caplog: pytest.LogCaptureFixture) -> None:
    environ = {"REQUEST_METHOD": "GET", "REQUEST_URI": "/a", "halfsync.request_id": "an-id"}
    log.report_application_error(raised(ValueError()), environ)
    log.report_application_error(raised(ValueError()), environ | {"halfsync.request_id": object()})
    with_id, without = caplog.records
    assert with_id.getMessage() == "the application failed on GET /a (request id an-id)"
    assert with_id.__dict__[log.DETAILS] == {"request_id": "an-id"}
    assert without.getMessage() == "the application failed on GET /a"


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


@pytest.fixture
def as_json() -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Return a function that runs code in a process that logs JSON, and returns the objects of its lines."""

    def run(code: str) -> list[dict[str, Any]]:
        begin = "import sys\nfrom halfsync import log\nlog.set_up('info', 'json')\n"
        ran = subprocess.run(
            [sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=60, check=True
        )
        found = [json.loads(line) for line in ran.stderr.splitlines()]
        for one in found:
            assert list(one)[:5] == ["time", "pid", "level", "logger", "message"]
            assert set(one) <= set(log.KEYS)
            assert abs(datetime.now(UTC) - datetime.fromisoformat(one["time"])) < timedelta(minutes=2)
            assert one["pid"] > 0 and one["logger"] == "halfsync"
        return found

    yield run


def test_a_line_is_one_object_if_asked_for(as_json: Callable[[str], list[dict[str, Any]]]) -> None:
    first, second = as_json("log.logger().info('said %s', '\"a\\n\\udcff\\x1b')\nlog.warn('5 %')")
    assert (first["level"], first["message"]) == ("INFO", 'said "a\n\udcff\x1b')
    assert (second["level"], second["message"]) == ("WARNING", "5 %")


def test_a_traceback_is_a_key(as_json: Callable[[str], list[dict[str, Any]]]) -> None:
    code = """
def fail():
    raise ZeroDivisionError("no")
try:
    fail()
except ZeroDivisionError as error:
    log.report_application_error(error, {"REQUEST_METHOD": "GET", "REQUEST_URI": "/a"})
"""
    (one,) = as_json(code)
    assert (one["level"], one["message"]) == ("ERROR", "the application failed on GET /a")
    assert one["traceback"].startswith("Traceback (most recent call last):\n")
    assert one["traceback"].endswith("ZeroDivisionError: no")


def test_a_traceback_that_logging_does_not_take_is_a_key_too(
    as_json: Callable[[str], list[dict[str, Any]]],
) -> None:
    code = """
import logging
def refuse(record):
    raise ValueError
logging.getLogger("halfsync").addFilter(refuse)
try:
    1 / 0
except ZeroDivisionError as error:
    log.report_handler_error(error)
"""
    (one,) = as_json(code)
    assert one["message"] == "a stream's handler failed (the application's logging has raised ValueError)"
    assert one["traceback"].endswith("ZeroDivisionError: division by zero")


def test_details_are_keys_and_an_attribute_of_the_record(
    as_json: Callable[[str], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    (one,) = as_json("log.logger().info('refused', details={'status': 400, 'reason': 'a \"b\"', 'peer': ''})")
    assert (one["status"], one["reason"]) == (400, 'a "b"')
    assert "peer" not in one
    caplog.set_level(logging.INFO)
    log.logger().info("refused", details={"status": 400})
    assert caplog.records[0].halfsync == {"status": 400}  # type: ignore[attr-defined]


def test_what_is_said_without_the_logger_is_an_object_too(
    as_json: Callable[[str], list[dict[str, Any]]],
) -> None:
    code = """
from halfsync.errors import LoadError
from halfsync.runtime.output import complain, say, standard_error
say("halfsync: one\\ntwo")
complain(LoadError("it is broken", origin="shop", traceback="Traceback\\n  line\\n"))
standard_error.dropped = 2
log.warn("next")
"""
    said, complaint, note, line = as_json(code)
    assert (said["message"], said["level"]) == ("one\ntwo", "WARNING")
    assert (complaint["message"], complaint["level"]) == ("shop: it is broken", "ERROR")
    assert complaint["traceback"] == "Traceback\n  line"
    assert note["message"] == "2 lines were dropped: standard error did not accept them"
    assert line["message"] == "next"


def test_the_form_can_change_while_the_server_runs() -> None:
    code = """
from halfsync import log
for form in ("text", "json", "text"):
    log.set_up("info", form)
    log.logger().info("as %s", form)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    first, second, third = ran.stderr.splitlines()
    assert json.loads(second)["message"] == "as json"
    for line in (first, third):
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[\d+\] INFO halfsync: as text", line)


def test_what_is_said_without_the_logger_has_time_and_process_too() -> None:
    code = """
import os
from halfsync import log
from halfsync.runtime.output import say
say("halfsync: before")
log.set_up("info")
say("halfsync: after", "ERROR")
print(os.getpid())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    before, after = ran.stderr.splitlines()
    assert before == "halfsync: before"
    assert re.fullmatch(rf"\d{{4}}-\S+ \S+ \[{ran.stdout.strip()}\] ERROR halfsync: after", after)
