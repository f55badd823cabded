"""Settings with which a start is rejected, before anything is opened."""

from pathlib import Path
from typing import Any

import pytest

import halfsync
from halfsync.errors import LoadError, UsageError
from halfsync.host.preflight import check_start, fit_server, refuse_contradictions
from halfsync.settings import Settings
from halfsync.settings.embedded import NEED_WORKERS


def test_valid_settings_pass_and_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.pid"
    check_start(Settings.from_options())
    check_start(Settings.from_options(workers=2, preload=True, post_fork="builtins:print", pidfile=path))
    assert not path.exists()


@pytest.mark.parametrize("name", NEED_WORKERS)
def test_settings_of_processes_need_workers(name: str) -> None:
    numbers = {
        "max_requests": 9,
        "max_requests_jitter": 9,
        "max_lifetime": 9.0,
        "max_rss": 9,
        "boot_timeout": 60.0,
    }
    value = {"preload": True, **numbers}.get(name, "builtins:print")
    settings = Settings.from_options(**{name: value})
    with pytest.raises(UsageError) as caught:
        refuse_contradictions(settings)
    assert str(caught.value) == (
        f"argument: {name} applies only to serving processes under a supervisor; "
        f"set workers to 1 or more, or leave {name} out"
    )
    refuse_contradictions(Settings.from_options(**{name: value, "workers": 1}))


def test_each_part_is_asked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no user"):
        check_start(Settings.from_options(user="nobody-of-that-name"))
    (tmp_path / "x.pid").write_text("precious")
    with pytest.raises(UsageError, match="does not contain a pid"):
        check_start(Settings.from_options(pidfile=tmp_path / "x.pid"))
    with pytest.raises(LoadError, match="has no attribute 'nothing'"):
        check_start(Settings.from_options(workers=1, worker_ready="builtins:nothing"))


def test_reload_needs_watchfiles_and_no_preload(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_contradictions(Settings.from_options(reload=True))
    with pytest.raises(UsageError, match="reload cannot load new code; leave out preload or reload"):
        refuse_contradictions(Settings.from_options(reload=True, preload=True))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        refuse_contradictions(Settings.from_options(reload=True))
    assert str(caught.value) == (
        "argument: reload needs the package watchfiles, which is not installed; "
        'install it: pip install "halfsync[reload]"'
    )
    refuse_contradictions(Settings.from_options(workers=1))


def test_application_that_is_loaded_already_cannot_be_reloaded() -> None:
    with pytest.raises(UsageError, match="halfsync serve module:callable --reload"):
        halfsync.serve(lambda environ, start_response: [], reload=True)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model": "pool"}, "the model is pool; use the model proactor, or leave {name} out"),
        ({"model": "thread"}, "the model is thread; use the model proactor, or leave {name} out"),
        ({"model": "process"}, "the model is process; use the model proactor, or leave {name} out"),
        ({"stream": True}, "a stream has no requests; leave {name} out"),
    ],
)
@pytest.mark.parametrize(
    ("name", "value"), [("lanes", {"api": {"paths": ["/api/*"]}}), ("client_share", 0.5)]
)
def test_lanes_need_requests_that_wait(
    settings: dict[str, Any], reason: str, name: str, value: object
) -> None:
    with pytest.raises(UsageError) as caught:
        fit_server(Settings.from_options(**settings, **{name: value}))
    assert str(caught.value) == (
        f"argument: {name} is supported only with the model proactor and requests, and {reason.format(name=name)}"
    )
    assert fit_server(Settings.from_options(**{name: value}))
