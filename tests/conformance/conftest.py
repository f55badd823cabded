"""The conformance suites run on every implementation, through one fixture.

What a model cannot promise, by its nature, is marked where it is tested, with the reason, which `-ra` prints.
"""

import importlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest
from tests import tls
from tests.sharing import Logged
from tests.wsgi import until

from halfsync.testing import transports

Wrap = Callable[[Any], Any]
Entries = Callable[[int], list[dict[str, Any]]]

GUESTBOOK = Path(__file__).parents[2] / "examples" / "guestbook"


# A number: the suite runs over a transport that makes everything difficult, with this seed (testing/transports.pyx).
DIFFICULT = os.environ.get("HALFSYNC_DIFFICULT_TRANSPORT")

MODELS: dict[str, dict[str, Any]] = {
    "proactor": {"model": "proactor", "poller": "epoll"},
    "proactor-poll": {"model": "proactor", "poller": "poll"},
    "thread": {"model": "thread"},
    "pool": {"model": "pool"},
    "process": {"model": "process"},
}


# The validator checks calls between bridge and application. There is one bridge, and two kinds of threads that
# run it: the engine's workers, and those that have a connection to themselves.
VALIDATED_ON = ("proactor", "thread")
WRAPPED = pytest.mark.parametrize(
    ("model", "wrap"),
    [(name, "plain") for name in MODELS] + [(name, "validated") for name in VALIDATED_ON],
    indirect=True,
)


@pytest.hookimpl(tryfirst=True)  # the mark must be there when the parameters of fixtures are looked at
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that wraps its application plain on every model, and validated on some."""
    if "wrap" in metafunc.fixturenames:
        metafunc.definition.add_marker(WRAPPED)


def pytest_report_header() -> str:
    """Say which transport the suite runs over."""
    kind = f"difficult, seed {DIFFICULT}" if DIFFICULT else "TLS" if tls.ON else "plain sockets"
    return f"transport: {kind}"


@pytest.fixture(autouse=True, scope="package")
def _transport() -> Iterator[None]:
    """Have every server of the suite use the transport that was asked for."""
    if DIFFICULT:
        transports.use(int(DIFFICULT))
    yield
    transports.use_plain()


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings of each model in turn, and of each poller for the engine's.

    Obeys `only_on` and `not_on`; `plain_transport` over another transport, and `without_tls` over TLS.
    """
    settings = MODELS[request.param]
    for mark in request.node.iter_markers():
        if mark.name not in ("only_on", "not_on", "plain_transport", "without_tls"):
            continue
        assert set(mark.args) <= {each["model"] for each in MODELS.values()}, mark
        named = settings["model"] in mark.args
        excludes = {
            "only_on": not named,
            "not_on": named,
            "plain_transport": (bool(DIFFICULT) or tls.ON) and (named or not mark.args),
            "without_tls": tls.ON and (named or not mark.args),
        }
        if excludes[mark.name]:
            pytest.skip(f"{settings['model']}: {mark.kwargs['reason']}")
    return settings


@pytest.fixture
def wrap(request: pytest.FixtureRequest) -> Wrap:
    """Return a function that leaves an application alone, or one that has the standard library check it.

    The validator raises AssertionError in the application: a test sees that as a 500 or a cut connection.
    """
    return validator if request.param == "validated" else lambda app: app


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Logged]:
    """Return what the server logs, whichever of its processes does."""
    collected = Logged(tmp_path / "log")
    yield collected
    collected.close()


@pytest.fixture
def guestbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the guestbook with a folder of its own, imported as `--chdir` has it imported."""
    monkeypatch.setenv("GUESTBOOK_DATA", str(tmp_path / "unused"))
    monkeypatch.syspath_prepend(str(GUESTBOOK))
    return importlib.import_module("guestbook").create_app(tmp_path / "data")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def entries(log: Path) -> Entries:
    """Return a function that waits for so many lines of the log, in JSON, and returns them."""

    def read(number: int) -> list[dict[str, Any]]:
        until(lambda: log.exists() and log.read_text().count("\n") >= number)
        return [json.loads(line) for line in log.read_text().splitlines()]

    return read
