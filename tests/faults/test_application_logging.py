"""The application's logging and the server's: neither changes the other, and the server's errors are always written."""

import re
import signal
import sys
from pathlib import Path

import pytest

from tests.client import fetch
from tests.faults.serving import MODELS, Serving, environment

APP = """
import logging, logging.config, sys
from contextlib import suppress
root = logging.root
print("root has", len(root.handlers), "handlers and level", root.level, file=sys.stderr, flush=True)
def configure():
    %s
if %r == "at import":
    configure()
def app(environ, start_response):
    if environ["PATH_INFO"] == "/configure":
        configure()
    elif environ["PATH_INFO"] == "/fails":
        with suppress(Exception):
            logging.getLogger("shop").error("of the shop")
        raise ZeroDivisionError("in the application")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
HANDLERS = (
    '"handlers": {"console": {"class": "logging.StreamHandler", "formatter": "app"}}, '
    '"formatters": {"app": {"format": "APP %%(message)s"}}'
)
# What an application may do with `logging` that is not meant for the server.
# As the logging cookbook has it for messages in another style, for the records of all loggers.
BRACES = (
    "logging.setLogRecordFactory(type('Mine', (logging.LogRecord,), "
    "{'getMessage': lambda self: str(self.msg).format(*self.args)}))"
)
RAISING = "logging.setLogRecordFactory(type('Mine', (logging.LogRecord,), {'getMessage': lambda self: self.nothing}))"


def filtering(values: str) -> str:
    """Return what gives the handlers of our logger a filter that changes the values of each record."""
    filter_ = f"lambda record: setattr(record, 'args', {values}) or True"
    return f"[handler.addFilter({filter_}) for handler in logging.getLogger('halfsync').handlers]"


CONFIGURATIONS = {
    "nothing": "pass",
    "basicConfig": 'logging.basicConfig(format="APP %%(message)s")',
    "basicConfig, force": 'logging.basicConfig(format="APP %%(message)s", force=True)',
    "basicConfig, critical": 'logging.basicConfig(format="APP %%(message)s", level="CRITICAL")',
    "dictConfig": f'logging.config.dictConfig({{"version": 1, {HANDLERS}, "root": {{"handlers": ["console"]}}}})',
    "dictConfig, twice": (
        f'[logging.config.dictConfig({{"version": 1, {HANDLERS}, "root": {{"handlers": ["console"]}}}}) for _ in "12"]'
    ),
    "dictConfig, keeping": (
        f'logging.config.dictConfig({{"version": 1, {HANDLERS}, "root": {{"handlers": ["console"]}}, '
        '"disable_existing_loggers": False})'
    ),
    "dictConfig, as Django": (
        f'logging.config.dictConfig({{"version": 1, {HANDLERS}, "loggers": {{"shop": {{"handlers": ["console"]}}}}, '
        '"disable_existing_loggers": False})'
    ),
    "dictConfig, incremental": (
        'logging.config.dictConfig({"version": 1, "incremental": True, "root": {"level": "CRITICAL"}, '
        '"loggers": {"halfsync": {"level": "CRITICAL"}}})'
    ),
    "dictConfig, no handler of ours": (
        f'logging.config.dictConfig({{"version": 1, {HANDLERS}, "loggers": {{"halfsync": {{}}, '
        '"shop": {"handlers": ["console"]}}})'
    ),
    "fileConfig": (
        'import io; logging.config.fileConfig(io.StringIO("[loggers]\\nkeys=root\\n[handlers]\\nkeys=h\\n'
        "[formatters]\\nkeys=f\\n[logger_root]\\nhandlers=h\\n[handler_h]\\nclass=StreamHandler\\nargs=()\\n"
        'formatter=f\\n[formatter_f]\\nformat=APP %%(message)s\\n"))'
    ),
    "disable": "logging.disable()",
    "shutdown": "logging.shutdown()",
    "setLevel": 'logging.getLogger("halfsync").setLevel("CRITICAL")',
    "setLevel of root": 'root.setLevel("CRITICAL")',
    "disabled": 'logging.getLogger("halfsync").disabled = True',
    "handlers removed": 'logging.getLogger("halfsync").handlers.clear()',
    "logger forgotten": "logging.Logger.manager.loggerDict.clear()",
    "propagate": 'logging.getLogger("halfsync").propagate = True',
    "logger class": "logging.setLoggerClass(type('Mine', (logging.Logger,), {'log': None}))",
    "logger class, forgotten": (
        "logging.setLoggerClass(type('Mine', (logging.Logger,), {'log': None})); "
        "logging.Logger.manager.loggerDict.clear()"
    ),
    "record factory": "logging.setLogRecordFactory(None)",
    "records with braces": BRACES,
    "records with braces, raiseExceptions": f"{BRACES}; logging.raiseExceptions = False",
    "records that raise": RAISING,
    "records that raise, raiseExceptions": f"{RAISING}; logging.raiseExceptions = False",
    "filter that masks": filtering("tuple(map(str, record.args))"),
    "filter with other values": filtering("(1, 2, 3)"),
    "filter with other values, raiseExceptions": f"{filtering('(1, 2, 3)')}; logging.raiseExceptions = False",
    "level of our handler": "for handler in logging.getLogger('halfsync').handlers: handler.setLevel('CRITICAL')",
    "level of all handlers": "for made in logging._handlerList: made() and made().setLevel('CRITICAL')",
    "no process in records": "logging.logProcesses = logging.logThreads = False",
    "captureWarnings": "logging.captureWarnings(True)",
    "no logging": "logging.Logger.log = logging.Logger.handle = logging.getLogger = None",
    "formatter": "logging.Formatter.format = None",
    "locks replaced": "logging._lock = None",
}
SILENT = (
    "basicConfig, critical",
    "dictConfig, incremental",
    "disable",
    "setLevel of root",
    "record factory",
    "records with braces",
    "records with braces, raiseExceptions",
    "records that raise",
    "records that raise, raiseExceptions",
    "level of all handlers",
    "no logging",
    "formatter",
)
SETUPS: dict[str, tuple[str, ...]] = {
    "alone": (),
    "workers": ("--workers", "1"),
    "preload": ("--workers", "1", "--preload"),
}
OURS = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \[\d+\] ERROR halfsync: the application failed on GET /fails\b"
)


def application(configuration: str, when: str = "at import") -> str:
    """Return an application that configures its logging so."""
    return APP % (configuration.replace("%%", "%"), when)


def see_one_error(serving: Serving) -> None:
    """See that an error of the application is written once, as the server's line with its traceback."""
    assert fetch(serving.address, "/fails").status == 500
    serving.wait_line("ZeroDivisionError: in the application")
    serving.signal(signal.SIGTERM)
    assert serving.exit_code() == 0
    assert len([line for line in serving.lines if OURS.match(line)]) == 1, serving.lines
    assert serving.lines.count("ZeroDivisionError: in the application") == 1, serving.lines


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_errors_are_written_whatever_the_application_does(tmp_path: Path, setup: str, name: str) -> None:
    with Serving(tmp_path, application(CONFIGURATIONS[name]), *SETUPS[setup], "--threads", "1") as serving:
        see_one_error(serving)
        assert serving.lines.count("root has 0 handlers and level 30") == 1, serving.lines
        shop = [line for line in serving.lines if line.endswith("of the shop")]
        shown = "APP of the shop" if "APP" in CONFIGURATIONS[name] else "of the shop"
        if name not in SILENT:
            assert shop == [shown], serving.lines
        assert not [line for line in serving.lines if "APP" in line and "shop" not in line], serving.lines
        assert " INFO halfsync: halfsync stopped" in serving.lines[-1], serving.lines


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("setup", ["alone", "workers"])
@pytest.mark.parametrize("name", ["dictConfig", "handlers removed"])
def test_errors_are_written_by_every_model(tmp_path: Path, model: str, setup: str, name: str) -> None:
    options = (*MODELS[model], *SETUPS[setup], "--threads", "1")
    with Serving(tmp_path, application(CONFIGURATIONS[name]), *options) as serving:
        see_one_error(serving)


@pytest.mark.parametrize("name", ["dictConfig", "disable"])
@pytest.mark.parametrize("setup", SETUPS)
def test_logging_may_be_configured_by_a_request(tmp_path: Path, setup: str, name: str) -> None:
    text = application(CONFIGURATIONS[name], "later")
    with Serving(tmp_path, text, *SETUPS[setup], "--threads", "1") as serving:
        assert fetch(serving.address, "/configure").status == 200
        see_one_error(serving)


@pytest.mark.parametrize("setup", ["alone", "workers"])
def test_nothing_depends_on_setproctitle(tmp_path: Path, setup: str) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['setproctitle'] = None\n")
    path = f"{tmp_path}:{environment()['PYTHONPATH']}"
    text = application(CONFIGURATIONS["dictConfig"])
    with Serving(tmp_path, text, *SETUPS[setup], more={"PYTHONPATH": path}) as serving:
        see_one_error(serving)
        assert "APP of the shop" in serving.lines


@pytest.mark.parametrize("options", [("--workers", "2"), ("--reload",)], ids=["workers", "reload"])
def test_a_reload_changes_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    if "--reload" in options:
        pytest.importorskip("watchfiles")
    text = application(CONFIGURATIONS["dictConfig"])
    with Serving(tmp_path, text, *options) as serving:
        for number in (1, 2):
            serving.wait_lines("serve", 2)  # it has started
            serving.signal(signal.SIGHUP)
            serving.wait_lines("the reload is complete", number)
        see_one_error(serving)
        assert serving.lines.count("APP of the shop") == 1


# What is documented for applications that want the server's lines in their own log, and how often each line is there.
OWN = (
    'logging.config.dictConfig({"version": 1, '
    '"formatters": {"own": {"format": "OWN %(levelname)s %(name)s %(message)s"}}, '
    '"handlers": {"own": {"class": "logging.StreamHandler", "formatter": "own"}}'
)
ROOT = ', "root": {"handlers": ["own"]}'
OURS_TO_ROOT = (
    'logging.getLogger("halfsync").propagate = True; logging.getLogger("halfsync").disabled = False'
)
TAKING = {
    "handlers": (f'{OWN}, "loggers": {{"halfsync": {{"handlers": ["own"]}}}}}})', 1, 0),
    "to the root": (f'{OWN}{ROOT}, "loggers": {{"halfsync": {{"propagate": True}}}}}})', 1, 0),
    "both": (f"{OWN}{ROOT}}}); {OURS_TO_ROOT}", 1, 1),
    "another format": (
        'logging.getLogger("halfsync").handlers[0].setFormatter('
        'logging.Formatter("OWN %(levelname)s %(name)s %(message)s"))',
        1,
        0,
    ),
    "their level": (
        f'{OWN}, "loggers": {{"halfsync": {{"handlers": ["own"], "level": "CRITICAL"}}}}}})',
        0,
        0,
    ),
}


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("name", TAKING)
def test_an_application_can_take_the_lines_over(tmp_path: Path, setup: str, name: str) -> None:
    configuration, own, ours = TAKING[name]
    options = (*SETUPS[setup], "--threads", "1", "--request-id-field", "none")
    with Serving(tmp_path, application(configuration, "later"), *options) as serving:
        assert fetch(serving.address, "/configure").status == 200
        assert fetch(serving.address, "/fails").status == 500
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        told = [line for line in serving.lines if "the application failed on GET /fails" in line]
        assert told.count("OWN ERROR halfsync the application failed on GET /fails") == own, serving.lines
        assert len(told) == own + ours, serving.lines


PROGRAM = """
import logging, sys
import halfsync
def app(environ, start_response):
    raise ZeroDivisionError("in the application")
%s
halfsync.serve(app, bind="127.0.0.1:0", threads=1, workers=%r, request_id_field=None)
"""


@pytest.mark.parametrize("workers", [None, 1], ids=["alone", "workers"])
@pytest.mark.parametrize("taken", [False, True], ids=["own", "taken"])
def test_a_program_that_serves_may_have_given_the_logger_handlers(
    tmp_path: Path, workers: int | None, taken: bool
) -> None:
    """Then the logger is the program's, level included."""
    logging = 'logging.basicConfig(format="OWN %(levelname)s %(message)s", level="DEBUG")'
    if taken:
        logging += '\nlogging.getLogger("halfsync").addHandler(logging.NullHandler())'
    (tmp_path / "program.py").write_text(PROGRAM % (logging, workers))
    with Serving(tmp_path, "", command=(sys.executable, "program.py")) as serving:
        assert fetch(serving.address, "/fails").status == 500
        serving.wait_line("ZeroDivisionError: in the application")
        serving.signal(signal.SIGTERM)
        assert serving.exit_code() == 0
        assert bool([line for line in serving.lines if OURS.match(line)]) is not taken, serving.lines
        own = [line for line in serving.lines if line.startswith("OWN ")]
        assert ("OWN ERROR the application failed on GET /fails" in own) is taken
        assert bool([line for line in own if line.startswith("OWN INFO halfsync stopped")]) is taken
