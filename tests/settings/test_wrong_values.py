"""Any value for a setting, from any source, is accepted, or rejected in one line that says what was expected."""

import datetime
import subprocess
import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from halfsync.errors import PART_MOST, UsageError
from halfsync.settings import SETTINGS, Setting, Settings, resolve
from tests.faults.serving import environment

LINE_MOST = 3 * PART_MOST + 10  # characters of the error's line
EACH = pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)


class Broken:
    """What raises whatever it is asked."""

    def __repr__(self) -> str:
        raise LookupError

    def __index__(self) -> int:
        raise LookupError

    def __fspath__(self) -> str:
        raise LookupError

    def __iter__(self) -> Iterator[Any]:
        raise LookupError


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"/tmp"


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


# Of every type that Python, or a TOML file, has.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, 10**5000, -(10**5000), 0.0, 1.5, -1.5, 1e300,
    float("inf"), -float("inf"), float("nan"), Decimal(1), Decimal("NaN"), Decimal("sNaN"), Decimal("1e99999"),
    Fraction(3, 2), 1j, "", " ", "x", "\0", "\n", "a\nb", "-", "=", ":", "/", ",", ",,", "\udc80", "٣", "9" * 5000,
    "x" * 9999, "inf", "nan", "1e9", "0x10", "1_000", "none", "auto", "true", b"", b"x", bytearray(b"x"), [], [None],
    [1], [""], ["x"], ["\0"], [["x"]], ["x", 1], [b"x"], ["9" * 5000], (), {}, {"a": 1}, {1: 2}, {"a": {"b": {}}},
    {"": ""}, {"/": 1}, {"/a": "\0"}, {None: None}, set(), {1}, range(3), object(), int, len, Broken(), [Broken()],
    BytesPath(), [("/a", BytesPath())], Path("x"), Path("\0"), datetime.date(2026, 1, 1),
    datetime.timedelta(seconds=1), iter([1]), deep(10),
]  # fmt: skip
TEXTS = [value for value in VALUES if isinstance(value, str)]


def check_line(error: UsageError) -> None:
    line = str(error)
    assert "\n" not in line
    assert 0 < len(line) < LINE_MOST
    line.encode("utf-8", "backslashreplace")
    assert error.problem
    assert error.origin


def give(setting: Setting, value: object) -> None:
    """Give a value from Python, and see that it is taken as something usable, or refused in a line."""
    try:
        settings = Settings.from_options(**{setting.name: value})
    except UsageError as error:
        check_line(error)
    else:
        taken = getattr(settings, setting.name)
        assert type(taken) in (type(None), bool, int, float, str, tuple)
        assert type(taken) is not float or 0 <= taken <= 366 * 86400.0
        assert type(taken) is not int or 0 <= taken <= 2**60
        setting.kind.show(taken)


@EACH
def test_from_python(setting: Setting) -> None:
    for value in VALUES:
        give(setting, value)
    deepest = deep(100_000)
    give(setting, deepest)
    while deepest:  # freed at one go it would end the interpreter's stack
        deepest = deepest[0]


@EACH
def test_from_the_environment(setting: Setting, tmp_path: Path) -> None:
    for text in TEXTS:
        try:
            resolve({}, environ={setting.variable: text}, directory=tmp_path)
        except UsageError as error:
            check_line(error)
            if setting.name != "config":
                assert error.origin.startswith(f"${setting.variable}")


@EACH
def test_from_the_command_line(setting: Setting, tmp_path: Path) -> None:
    for text in TEXTS:
        try:
            resolve({setting.name: text}, environ={}, directory=tmp_path)
        except UsageError as error:
            check_line(error)


TOML = [
    "true", "false", "0", "-1", "1", "1.5", "inf", "-inf", "nan", "1e400", "9" * 30, "0x" + "f" * 5000, "9" * 5000,
    '""', '"x"', '"\\u0000"', '"\\n"', "[]", "[1]", '["x"]', '[["x"]]', "[[[[[]]]]]", "{}", "{a = 1}", '{"/a" = "x"}',
    '{"/a" = {b = {c = 1}}}', "2026-01-01", "12:00:00", "2026-01-01T00:00:00Z", "[" * 100 + "]" * 100,
    "[" * 10_000 + "]" * 10_000, "{a = " * 10_000 + "1" + "}" * 10_000, "[" * 10_000, "x", "",
]  # fmt: skip


def read(tmp_path: Path, text: str) -> None:
    (tmp_path / "halfsync.toml").write_text(text)
    try:
        resolve({}, environ={}, directory=tmp_path)
    except UsageError as error:
        check_line(error)
        assert "halfsync.toml" in error.origin


@EACH
def test_from_a_file(setting: Setting, tmp_path: Path) -> None:
    for value in TOML:
        read(tmp_path, f"{setting.name} = {value}\n")


def test_tables_in_a_file(tmp_path: Path) -> None:
    for setting in SETTINGS:
        read(tmp_path, f"[{setting.name}]\nx = 1\n")
        read(tmp_path, f"[[{setting.name}]]\nx = 1\n")
        read(tmp_path, f"[{setting.name}{'.a' * 3000}]\nx = 1\n")
    read(tmp_path, f"{'x' * 100_000} = 1\n")
    read(tmp_path, f"[{'a.' * 10_000}a]\nb = 1\n")
    read(tmp_path, f"{'a.' * 10_000}a = 1\n")
    (tmp_path / "pyproject.toml").write_text(f"[tool.halfsync]\nthreads = {'[' * 10_000}")
    (tmp_path / "halfsync.toml").unlink()
    with pytest.raises(UsageError, match="nested too deeply"):
        resolve({}, environ={}, directory=tmp_path)


def test_names_of_every_kind() -> None:
    for name in ("", "x", "x" * 9999, "threads\n", "\udc80", "THREADS", "٣"):
        with pytest.raises(UsageError, match="unknown setting") as caught:
            Settings.from_options(**{name: 1})
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < LINE_MOST


@pytest.mark.parametrize(
    ("arguments", "variables", "content"),
    [
        (["--threads", "9" * 5000], {}, ""),
        (["--bind", "127.0.0.1:" + "9" * 5000], {}, ""),
        (["--bind", "fd://" + "9" * 5000], {}, ""),
        (["--unix-owner", "9" * 5000, "--bind", "unix:x.sock"], {}, ""),
        (["--user", "9" * 5000], {}, ""),
        ([], {"HALFSYNC_KEEP_ALIVE": "9" * 5000}, ""),
        ([], {"HALFSYNC_MAX_BODY": "9" * 5000 + "g"}, ""),
        ([], {}, "threads = " + "9" * 5000),
        ([], {}, "threads = 0x" + "f" * 5000),
        ([], {}, "bind = " + "[" * 10_000),
        ([], {}, "static = " + "{a=" * 10_000),
    ],
    ids=lambda one: str(one)[:20],
)
def test_a_start_ends_with_one_line(
    tmp_path: Path, arguments: list[str], variables: Mapping[str, str], content: str
) -> None:
    (tmp_path / "site_app.py").write_text("def app(environ, start_response): pass\n")
    (tmp_path / "halfsync.toml").write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "halfsync", "serve", "site_app", *arguments],
        cwd=tmp_path, env={**environment(), **variables}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (2, 4)
    assert done.stderr.count("\n") == 1
    assert "halfsync: " in done.stderr
