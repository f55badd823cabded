"""Signal handlers in Python: when one may raise, and what happens otherwise."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from halfsync.host import handlers
from halfsync.host.handlers import Contained, contain_handlers, release_handlers
from halfsync.runtime.signals import Signals

LIBRARY = f"{os.path.dirname(os.__file__)}/contextlib.py"  # noqa: PTH120 - as Python names it
CALLS = """
import os, signal

def interrupt():
    os.kill(os.getpid(), signal.SIGALRM)
    return None

def call(function):
    return function()
"""


class Logged:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str, *values: object) -> None:
        """Keep a line."""
        self.lines.append(message % values)

    def error(self, message: str, *values: object, exc_info: object) -> None:
        """Keep a line about an error."""
        assert exc_info
        self.lines.append(message % values)


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have the log's lines, and give the signals back what they had."""
    logged = Logged()
    monkeypatch.setattr(handlers, "logger", lambda: logged)
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM)}
    yield logged.lines
    release_handlers()
    for number, handler in before.items():
        signal.signal(number, handler)


def set_handler(raised: BaseException) -> Callable[..., None]:
    """Set a handler for SIGALRM that raises, and contain it."""

    def handler(*_: object) -> None:
        raise raised

    signal.signal(signal.SIGALRM, handler)
    contain_handlers()
    return handler


def interrupt(*callers: tuple[str, str]) -> None:
    """Send SIGALRM from a function of the last of these modules, called by the others in turn. Each: a name, a file."""
    function: Any = None
    for name, file in reversed(callers):
        home: dict[str, Any] = {"__name__": name}
        exec(compile(CALLS, file, "exec"), home)
        inner = function
        function = home["interrupt"] if inner is None else partial(home["call"], inner)
    function()


OURS, APPLICATION, STANDARD = (
    ("halfsync.foreground", "x.py"),
    ("shop.views", "views.py"),
    ("contextlib", LIBRARY),
)


@pytest.mark.parametrize(
    ("callers", "contained"),
    [
        ([OURS], True),
        ([APPLICATION, OURS], True),
        ([OURS, STANDARD], True),
        ([OURS, STANDARD, STANDARD], True),
        ([OURS, ("namedtuple_Outcome", "<string>")], True),
        ([OURS, ("importlib._bootstrap", "<frozen importlib._bootstrap>")], True),
        ([OURS, APPLICATION], False),
        ([OURS, APPLICATION, STANDARD], False),
        ([OURS, ("halfsync_shop", "shop.py")], False),
        ([OURS, ("calendar", "/project/calendar.py")], False),
        ([OURS, ("__main__", "<string>")], False),
    ],
)
def test_a_handler_may_raise_in_the_code_of_the_application(
    log: list[str], callers: list[tuple[str, str]], *, contained: bool
) -> None:
    set_handler(TimeoutError())
    if contained:
        interrupt(*callers)
        assert len(log) == 1
    else:
        with pytest.raises(TimeoutError):
            interrupt(*callers)
        assert log == []


def test_what_is_raised_again_is_not_logged_again(log: list[str]) -> None:
    set_handler(TimeoutError())
    interrupt(OURS)
    interrupt(OURS)
    set_handler(ValueError())
    interrupt(OURS)
    assert [line.partition(";")[0] for line in log] == ["the application's handler of SIGALRM failed"] * 2


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_is_a_sigterm_once(log: list[str], raised: BaseException) -> None:
    with Signals() as signals:
        set_handler(raised)
        for _ in range(3):
            interrupt(OURS)
        assert signals.wait([], 0) == signal.SIGTERM
        assert signals.wait([], 0) is None
    assert log == [
        f"the application's handler of SIGALRM has raised {type(raised).__name__}, which counts as SIGTERM"
    ]


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt()])
def test_so_is_that_of_a_handler_for_sigterm(log: list[str], raised: BaseException) -> None:
    """It was set while the server's signals are caught, as by a hook."""

    def handler(*_: object) -> None:
        raise raised

    with Signals() as signals:
        signal.signal(signal.SIGTERM, handler)
        contain_handlers()
        home = {"__name__": "halfsync.foreground"}
        exec("import os, signal\ndef kill(): os.kill(os.getpid(), signal.SIGTERM)", home)
        home["kill"]()  # type: ignore[operator]
        assert signals.wait([], 0) == signal.SIGTERM
    assert log == [
        f"the application's handler of SIGTERM has raised {type(raised).__name__}, which counts as SIGTERM"
    ]


def test_handlers_are_given_back() -> None:
    handler = set_handler(TimeoutError())
    assert isinstance(signal.getsignal(signal.SIGALRM), Contained)
    contain_handlers()
    found = signal.getsignal(signal.SIGALRM)
    assert isinstance(found, Contained)
    assert found.handler is handler
    release_handlers()
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_that_sets_itself_again_is_contained_again(log: list[str]) -> None:
    def handler(*_: object) -> None:
        signal.signal(signal.SIGALRM, handler)
        raise TimeoutError

    signal.signal(signal.SIGALRM, handler)
    contain_handlers()
    interrupt(OURS)
    interrupt(OURS)
    assert len(log) == 1
