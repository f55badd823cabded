"""What a program that serves by itself cannot do is refused in one line, as on the command line."""

import inspect
import pydoc
from collections.abc import Callable
from typing import Any

import pytest

import halfsync
from halfsync.settings import BY_NAME, SETTINGS, Settings
from halfsync.settings.embedded import NEED_WORKERS, OF_A_COMMAND, OF_A_PROCESS
from halfsync.settings.options import ServeOptions, ServerOptions
from tests.wsgi import hello

VALUES = {
    "workers": 2, "pythonpath": ["."], "env": {"A": "b"}, "reload_dir": ["."], "reload_include": ["*.x"],
    "reload_exclude": ["*.x"], "umask": 0o022, "user": "nobody", "group": "nogroup", "admin_bind": "127.0.0.1:0",
    "log_level": "debug", "server_log_format": "json", "max_requests": 1, "max_requests_jitter": 1, "max_rss": 1,
    "max_lifetime": 1, "drain_delay": 1, "boot_timeout": 1, "factory": True, "preload": True,
}  # fmt: skip


def value(name: str) -> object:
    return VALUES.get(name, "served:hook")


@pytest.mark.parametrize("name", [*(one for one in OF_A_COMMAND if one != "reload"), *OF_A_PROCESS])
def test_a_server_refuses_settings_without_effect(name: str) -> None:
    with pytest.raises(
        halfsync.UsageError, match=f"^argument: {name} has no effect on Server; .* leave {name} out$"
    ):
        halfsync.Server(hello, bind="127.0.0.1:0", **{name: value(name)})  # type: ignore[call-overload]
    with pytest.raises(halfsync.UsageError, match=f"{name} has no effect on Server"):
        halfsync.Server(hello, settings=Settings.from_options(bind="127.0.0.1:0", **{name: value(name)}))


@pytest.mark.parametrize("name", [one for one in OF_A_COMMAND if one != "reload"])
@pytest.mark.parametrize("serve", [halfsync.serve, halfsync.serve_stream])
def test_serve_refuses_what_is_the_command_lines(serve: Callable[..., None], name: str) -> None:
    with pytest.raises(halfsync.UsageError, match=f"{name} has no effect on halfsync.serve"):
        serve(hello, **{name: value(name)})


@pytest.mark.parametrize("given", [42, None, "shop:app", object()])
@pytest.mark.parametrize("make", [halfsync.Server, halfsync.serve, halfsync.serve_stream])
def test_what_cannot_be_called_is_no_application(make: Callable[..., Any], given: object) -> None:
    with pytest.raises(halfsync.UsageError) as caught:
        make(given, bind="127.0.0.1:0")
    assert str(caught.value).startswith(
        f"the application is of type {type(given).__name__}, which cannot be called; "
    )


def test_a_text_is_said_to_be_a_name() -> None:
    with pytest.raises(halfsync.UsageError, match="import it, and give a WSGI application"):
        halfsync.Server("shop:app")  # type: ignore[call-overload]


def test_unknown_arguments_name_the_nearest() -> None:
    with pytest.raises(halfsync.UsageError, match="unknown setting 'thread'; did you mean 'threads'"):
        halfsync.Server(hello, thread=2)  # type: ignore[call-overload]
    with pytest.raises(halfsync.UsageError, match="unknown setting 'listeners'"):
        halfsync.Server(hello, listeners=[])  # type: ignore[call-overload]


def test_every_setting_is_of_a_server_a_process_or_a_command() -> None:
    server = set(ServerOptions.__annotations__)
    process = set(ServeOptions.__annotations__) - server
    assert server | process | set(OF_A_COMMAND) == set(BY_NAME)
    assert process == set(OF_A_PROCESS)
    assert not server & set(OF_A_COMMAND)
    assert set(NEED_WORKERS) < process


def test_help_shows_signatures_and_public_members() -> None:
    text = pydoc.render_doc(halfsync.Server, renderer=pydoc.plaintext)  # type: ignore[attr-defined]
    assert "Unpack[ServerOptions]" in text
    for name in ("start", "drain", "hand_off", "wait", "close", "statistics", "ready", "address", "url"):
        assert name in text
    public = {name for name in vars(halfsync.Server) if not name.startswith("_")}
    assert public == {
        "address", "close", "close_keepalives", "drain", "hand_off", "ready", "reopen_logs", "start", "statistics",
        "url", "wait",
    }  # fmt: skip
    assert list(inspect.signature(halfsync.serve).parameters) == [
        "application",
        "settings",
        "name",
        "options",
    ]


def test_public_names_are_exported() -> None:
    assert set(halfsync.__all__) <= set(dir(halfsync))
    for name in halfsync.__all__:
        assert getattr(halfsync, name) is not None
    for error in (halfsync.UsageError, halfsync.LoadError, halfsync.BindError):
        assert issubclass(error, halfsync.StartError)
    assert issubclass(halfsync.StartError, halfsync.HalfsyncError)
    assert len(SETTINGS) == len(BY_NAME)
