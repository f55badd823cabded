"""The declaration: complete, consistent, and the same for every source."""

import dataclasses
from pathlib import Path

import pytest

from halfsync.errors import UsageError
from halfsync.settings import BY_NAME, GROUPS, SETTINGS, Setting, Settings, capacity

every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)


@every_setting
def test_each_default_is_a_value_of_its_kind(setting: Setting) -> None:
    assert setting.convert(setting.default, "default") == setting.default


@every_setting
def test_each_default_survives_being_written_and_read(setting: Setting) -> None:
    if setting.default is not None:
        assert setting.kind.convert(setting.kind.show(setting.default)) == setting.default


@every_setting
def test_each_says_what_it_is_and_why_its_default(setting: Setting) -> None:
    assert setting.doc.endswith(".")
    assert setting.reason.endswith(".")
    assert setting.group in GROUPS


def test_defaults_that_users_count_on() -> None:
    settings = Settings.from_options()
    assert settings.bind == ("127.0.0.1:8000",)
    assert (settings.model, settings.workers, settings.threads) == ("proactor", None, 4)
    assert (settings.backlog, settings.queue_size, settings.max_connections) == (2048, 2048, 16384)
    assert (settings.keep_alive, settings.graceful_timeout, settings.head_timeout) == (75.0, 30.0, 10.0)
    assert (settings.max_body, settings.body_memory, settings.spool_memory) == (2**30, 2**16, 2**20)
    assert (settings.max_request_line, settings.max_field, settings.max_fields) == (8192, 8192, 100)
    assert (settings.max_head, settings.spool_disk) == (65536, 4 * 2**30)
    assert settings.server_header is True


def test_options_may_be_native_or_textual(tmp_path: Path) -> None:
    native = Settings.from_options(keep_alive=75, max_body=1024, bind=[":1"], factory=True, chdir=tmp_path)
    textual = Settings.from_options(
        keep_alive="75s", max_body="1k", bind=":1", factory="true", chdir=str(tmp_path)
    )
    assert native == textual
    assert (native.keep_alive, native.max_body, native.bind) == (75.0, 1024, (":1",))


def test_origins_name_the_source_of_each_value() -> None:
    settings = Settings.from_options(threads=2)
    assert settings.origins["threads"] == "argument"
    assert settings.origins["workers"] == "default"
    assert set(settings.origins) == set(BY_NAME)


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown setting 'thread'; did you mean 'threads'"):
        Settings.from_options(thread=2)
    with pytest.raises(UsageError, match="see `halfsync serve --help`"):
        Settings.from_options(zzzzzz=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "workers: 0 is not a whole number from 1 to 1024 or auto"),
        ({"threads": 0}, "threads: 0 is not a whole number from 1 to 1024 or auto"),
        ({"umask": "0999"}, "umask: '0999' is not a file mode from 0 to 0777; write it in octal, like 0660"),
        ({"user": "a:b"}, "user: 'a:b' is not a user's name or number"),
        ({"post_fork": "hooks"}, "post_fork: 'hooks' is not a module and a function in it; write it like"),
        ({"reload": "perhaps"}, "reload: 'perhaps' is not true or false"),
        ({"max_fields": 101}, "max_fields: 101 is not a whole number from 1 to 100"),
        ({"head_timeout": 0}, "head_timeout: 0 is not a duration longer than 0 to 24h"),
    ],
)
def test_rejected_values_have_a_plain_message(options: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.from_options(**options)
    assert str(caught.value).startswith(says)


def test_reload_implies_one_worker_if_workers_is_not_set() -> None:
    settings = Settings.from_options(reload=True)
    assert settings.workers == 1 and settings.origins["workers"] == "argument (reload)"
    assert Settings.from_options(reload=True, workers=3).workers == 3
    assert Settings.from_options(reload=False).workers is None


@pytest.mark.parametrize(
    ("options", "workers", "threads"),
    [
        ({"workers": "auto", "threads": "auto"}, 6, 8),
        ({"workers": "Auto"}, 6, 4),
        ({"threads": "auto"}, None, 8),
        ({"workers": 3, "threads": "auto"}, 3, 8),
    ],
)
def test_what_is_auto_is_sized_by_the_machine(
    options: dict[str, object], workers: int | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = capacity.Machine(affinity=6, quota=None, memory=None, gil=True)
    monkeypatch.setattr(capacity, "read_machine", lambda: machine)
    settings = Settings.from_options(**options)
    assert (settings.workers, settings.threads) == (workers, threads)
    assert settings.sized.startswith("auto: ")
    for name in ("workers", "threads"):
        automatic = str(options.get(name)).lower() == "auto"
        given = "argument" if name in options else "default"
        assert settings.origins[name] == (f"{given} (auto)" if automatic else given)


def test_nothing_is_sized_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "read_machine", None)
    assert Settings.from_options(workers=2).sized == ""


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings.from_options().threads = 9  # type: ignore[misc]
