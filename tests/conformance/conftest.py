"""The conformance suites run on every implementation: one fixture says which there are."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

Wrap = Callable[[Any], Any]

GUESTBOOK = Path(__file__).parents[2] / "examples" / "guestbook"


MODELS: dict[str, dict[str, Any]] = {
    "proactor": {"model": "proactor", "poller": "epoll"},
    "proactor-poll": {"model": "proactor", "poller": "poll"},
    "thread": {"model": "thread"},
    "pool": {"model": "pool"},
    "process": {"model": "process"},
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the settings of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


@pytest.fixture(params=["plain", "validated"])
def wrap(request: pytest.FixtureRequest) -> Wrap:
    """Return a function that leaves an application alone, and one that has the standard library check it.

    The validator raises AssertionError in the application: a test sees that as a 500 or a cut connection.
    """
    return validator if request.param == "validated" else lambda app: app


@pytest.fixture
def guestbook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the guestbook with a folder of its own, imported as `--chdir` has it imported."""
    monkeypatch.setenv("GUESTBOOK_DATA", str(tmp_path / "unused"))
    monkeypatch.syspath_prepend(str(GUESTBOOK))
    return importlib.import_module("guestbook").create_app(tmp_path / "data")
