"""Variables and paths that settings give to an application: set, replaced, and undone."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.errors import UsageError
from halfsync.loading.directory import add_paths
from halfsync.loading.variables import BYTES_MOST, outside, read_variables, set_variables


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("HS_A", "HS_B", "HS_C"):
        monkeypatch.delenv(name, raising=False)
    path = list(sys.path)
    yield
    set_variables((), None)
    add_paths(())
    assert sys.path == path
    assert not {"HS_A", "HS_B", "HS_C"} & set(os.environ)


def test_variables_replace_those_of_before() -> None:
    os.environ["HS_A"] = "outside"
    try:
        set_variables([("HS_A", "1"), ("HS_B", "2")], None)
        assert (os.environ["HS_A"], os.environ["HS_B"]) == ("1", "2")
        assert outside()["HS_A"] == "outside" and "HS_B" not in outside()
        set_variables([("HS_B", "3")], None)
        assert (os.environ["HS_A"], os.environ["HS_B"]) == ("outside", "3")
        set_variables([("HS_A", "4")], None)
        assert "HS_B" not in os.environ
        assert outside()["HS_A"] == "outside"
    finally:
        set_variables((), None)
        assert os.environ.pop("HS_A") == "outside"


def test_a_file_yields_to_the_environment_and_to_env(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HS_A=file\nHS_B=file\nHS_C=file\n")
    os.environ["HS_A"] = "outside"
    try:
        set_variables([("HS_B", "env")], str(tmp_path / ".env"))
        assert [os.environ[name] for name in ("HS_A", "HS_B", "HS_C")] == ["outside", "env", "file"]
        (tmp_path / ".env").write_text("HS_C=again\n")
        set_variables((), str(tmp_path / ".env"))
        assert (os.environ["HS_C"], "HS_B" in os.environ) == ("again", False)
    finally:
        del os.environ["HS_A"]


def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    set_variables([("HS_A", "1")], None)
    with pytest.raises(UsageError, match=r"cannot read .*: no such file"):
        set_variables((), str(tmp_path / "gone"))
    assert os.environ["HS_A"] == "1"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("export A = b", "b"),
        ("  A=  two words  # a comment", "two words"),
        ("A=b#c", "b#c"),
        ("A=", ""),
        ("A=# nothing", ""),
        ("A='b # \\n c' # d", "b # \\n c"),
        (r'A="b\n\"c\" \\ \$d"', 'b\n"c" \\ $d'),
        ("A=$HOME", "$HOME"),
        ("A=b=c", "b=c"),
    ],
)
def test_values_in_a_file(line: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(f"# first\n\n{line}\n")
    assert read_variables(str(tmp_path / "env")) == [("A", value)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"A=1\nno variable\n", "line 2: not a line of the form NAME=VALUE"),
        (b"A='b", "line 1: the value of A has an open quote"),
        (b'A="b"c', "line 1: the value of A has an open quote"),
        (b"1A=b", "line 1: not a line"),
        (b"A=\xff", "is not UTF-8"),
        (b"A=\0", "has a zero byte"),
        (b"#" * (BYTES_MOST + 1), f"has more than {BYTES_MOST} bytes"),
    ],
)
def test_mistakes_in_a_file_name_the_line(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "env").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_variables(str(tmp_path / "env"))
    assert said in str(caught.value)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe"):
        with pytest.raises(UsageError, match="cannot read"):
            read_variables(str(tmp_path / name))


def test_paths_come_after_the_applications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    first, *rest = sys.path
    add_paths(["one", "two"])
    assert sys.path == [first, f"{tmp_path}/one", f"{tmp_path}/two", *rest]
    add_paths(["two"])
    assert sys.path == [first, f"{tmp_path}/two", *rest]
    with pytest.raises(UsageError, match=r"pythonpath: there is no directory .*/gone"):
        add_paths(["gone"])
    assert sys.path == [first, f"{tmp_path}/two", *rest]
