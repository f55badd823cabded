"""Fixtures for every test: a server that is started for a test and drained after it, and leaks nothing."""

import gc
import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import halfsync
from halfsync.native import checks
from tests import tls
from tests.browser import Browser, find_chromium
from tests.leaks import held, leaked
from tests.seated import make_server

THREADS = 4
GRACEFUL_TIMEOUT = 10.0

# The type of an application is the server's business; the tests also start what is none on purpose.
Serve = Callable[..., AbstractContextManager[halfsync.Server]]

# The engine on each of its pollers, for suites of what only it promises; what all models do is in conformance/.
PROACTORS: dict[str, dict[str, Any]] = {
    "epoll": {"model": "proactor", "poller": "epoll"},
    "poll": {"model": "proactor", "poller": "poll"},
}
on_both_pollers = pytest.mark.parametrize("model", PROACTORS.values(), ids=PROACTORS)

FAILED = pytest.StashKey[bool]()

# An example may take as long as a busy machine makes it.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks that say which model cannot pass a test of the conformance suite, and why."""
    for name, ran in ("only_on", "on these models and no other"), ("not_on", "on every model but these"):
        config.addinivalue_line("markers", f"{name}(*models, reason): run {ran}; the reason is a sentence")
    config.addinivalue_line("markers", "plain_transport(*models, reason): run there over plain sockets only")
    config.addinivalue_line("markers", "without_tls(*models, reason): do not run there over TLS")

    heed_signals()


def heed_signals() -> None:
    """Let no program that a test starts inherit a signal that is ignored.

    A shell starts what it runs in the background with SIGINT ignored, and nohup with SIGHUP. This process still
    ignores the signal: its handler does nothing. In a program that is started, a signal with a handler has its default.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # which Python ignores itself
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_collection_finish() -> None:
    """Leave all that there is before the first test out of garbage collection, so that each collection is short.

    Every test that serves asks for some: the leak check below does, and so does each server of the model `process`.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note for the leak check that a test failed."""
    report = yield
    if call.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that served and leaves a native object, a descriptor or a thread behind."""
    if "serve" not in request.fixturenames or not checks.enabled():
        yield
        return
    before = held()
    yield
    # The traceback of a failed test holds its sockets and server: a second complaint would only distract.
    if not request.node.stash.get(FAILED, False):
        more = leaked(before)
        assert not more, f"left behind: {dict(more)}"


@pytest.fixture
def model() -> dict[str, Any]:
    """Return the settings of the model that serves. Suites that every model must pass override this."""
    return PROACTORS["epoll"]


@pytest.fixture
def serve(model: dict[str, Any]) -> Serve:
    """Return a function that serves an application: a context manager giving the server; settings by name."""

    @contextmanager
    def start(app: Any, **settings: Any) -> Iterator[halfsync.Server]:
        defaults: dict[str, Any] = {
            "bind": "127.0.0.1:0",
            "threads": THREADS,
            **model,
            "graceful_timeout": GRACEFUL_TIMEOUT,
            **(tls.settings() if tls.ON else {}),
        }
        with make_server(app, **(defaults | settings)) as server:
            yield server

    return start


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """Return a browser with a fresh profile; skip if there is none, but fail if CI is set."""
    program = find_chromium()
    if program is None:
        reason = "no Chromium found: install it with `make test` as root, or from your distribution"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with Browser(program, tmp_path / "profile") as opened:
        yield opened
