"""Which files a process has loaded, and how it reports them."""

import importlib
import os
import socket
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfsync.supervisor.development import sources
from halfsync.supervisor.development.sources import (
    PACKET_BYTES,
    Reporter,
    changed_at,
    find_loaded,
    pack,
    unpack,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which modules are found, and are forgotten after the test."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    importlib.invalidate_caches()
    return tmp_path


def test_what_was_imported_is_found_and_libraries_are_not(folder: Path) -> None:
    (folder / "one_of_ours.py").write_text("import json\n")
    importlib.import_module("one_of_ours")
    found = find_loaded()
    assert found[str(folder / "one_of_ours.py")] == (folder / "one_of_ours.py").stat().st_mtime_ns
    for library in (os.__file__, pytest.__file__, sources.__file__):
        assert library not in found


@pytest.mark.parametrize("text", ["raise RuntimeError", "def broken(:", "import three_of_ours"])
def test_files_of_an_import_that_failed_are_found(folder: Path, text: str) -> None:
    (folder / "one_of_ours.py").write_text("import two_of_ours\n")
    (folder / "two_of_ours.py").write_text(text)
    with pytest.raises((RuntimeError, SyntaxError, ImportError)) as caught:
        importlib.import_module("one_of_ours")
    outer = RuntimeError("as the loader raises it")
    outer.__cause__ = caught.value
    assert {str(folder / "one_of_ours.py"), str(folder / "two_of_ours.py")} <= find_loaded(outer).keys()


def test_circular_causes_end() -> None:
    one, two = RuntimeError("one"), RuntimeError("two")
    one.__context__, two.__context__ = two, one
    find_loaded(one)


def test_module_that_loads_itself_when_asked_is_not_asked(folder: Path) -> None:
    class Late(types.ModuleType):
        def __getattribute__(self, name: str) -> object:
            raise AssertionError(name)

    sys.modules["late_of_ours"] = Late("late_of_ours")
    sys.modules["none_of_ours"] = None  # type: ignore[assignment] # as an import that is forbidden has it
    sys.modules["odd_of_ours"] = object()  # type: ignore[assignment]
    find_loaded()


@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name), st.integers(0, 2**63)
    )
)
def test_lists_go_through_packets_whole(files: dict[bytes, int]) -> None:
    named = {os.fsdecode(name): time for name, time in files.items()}
    assert unpack(pack(named)) == named


def test_packets_are_bounded() -> None:
    files = {f"/{number:0200}.py": 1 for number in range(1000)}
    packets = list(pack(files))
    assert len(packets) > 1 and max(map(len, packets)) <= PACKET_BYTES
    assert unpack(packets) == files


def test_each_file_is_reported_once_even_if_imported_later(folder: Path) -> None:
    (folder / "one_of_ours.py").write_text("")
    (folder / "two_of_ours.py").write_text("")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        reporter = Reporter(ours)
        importlib.import_module("one_of_ours")
        reporter.tell()
        assert str(folder / "one_of_ours.py") in unpack([theirs.recv(PACKET_BYTES)])
        importlib.import_module("two_of_ours")
        reporter.look()
        reporter.look()
        assert list(unpack([theirs.recv(PACKET_BYTES)])) == [str(folder / "two_of_ours.py")]
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(PACKET_BYTES)


def test_a_missing_reader_is_no_error() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        theirs.close()
        Reporter(ours).tell()


def test_file_that_is_not_there_has_no_time(tmp_path: Path) -> None:
    assert changed_at(str(tmp_path / "gone.py")) == 0
