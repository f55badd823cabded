"""Spool files: nameless, under one budget, and gone when they are closed."""

import os
import stat
from pathlib import Path

import pytest

from halfsync.native.checks import counts
from halfsync.testing import exchanges
from tests.wsgi import pattern


def test_what_is_appended_lies_in_a_file_without_a_name(tmp_path: Path) -> None:
    before = counts()["spool file"]
    store = exchanges.PyStore(os.fsencode(tmp_path), 1 << 20)
    spool = exchanges.PySpool(store)
    assert (spool.fd, spool.end) == (-1, 0)
    data = pattern(100_000)
    for piece in (data[:1], data[1:70_000], data[70_000:]):
        assert spool.reserve(len(piece)) == 0
        assert spool.append(piece) == 0
    assert os.pread(spool.fd, 200_000, 0) == data
    about = os.fstat(spool.fd)
    assert (about.st_nlink, stat.S_IMODE(about.st_mode)) == (0, 0o600)
    assert not os.get_inheritable(spool.fd)
    assert list(tmp_path.iterdir()) == []
    assert store.used == spool.end == len(data)
    assert counts()["spool file"] == before + 1
    spool.close()
    spool.close()
    assert (spool.fd, spool.end, store.used) == (-1, 0, 0)
    assert counts()["spool file"] == before


def test_a_closed_spool_begins_anew(tmp_path: Path) -> None:
    spool = exchanges.PySpool(exchanges.PyStore(os.fsencode(tmp_path), 100))
    for data in (b"first", b"again"):
        spool.reserve(5)
        spool.append(data)
        assert os.pread(spool.fd, 100, 0) == data
        spool.close()


def test_all_spools_share_the_budget(tmp_path: Path) -> None:
    store = exchanges.PyStore(os.fsencode(tmp_path), 10)
    first, second = exchanges.PySpool(store), exchanges.PySpool(store)
    assert first.reserve(10) == 0
    assert second.reserve(1) == -1
    assert second.reserve(0) == 0
    assert store.used == 10  # a refusal takes nothing
    first.close()
    assert second.reserve(11) == -1
    assert second.reserve(10) == 0
    second.close()
    assert store.used == 0


def test_a_missing_directory_is_rejected(tmp_path: Path) -> None:
    store = exchanges.PyStore(os.fsencode(tmp_path / "missing"), 10)
    spool = exchanges.PySpool(store)
    assert spool.reserve(1) == 0
    assert spool.append(b"x") == -1
    spool.close()
    assert store.used == 0


def test_a_path_that_is_too_long_is_refused() -> None:
    exchanges.PyStore(b"/" + b"a" * 4062, 1)
    with pytest.raises(ValueError, match="too long"):
        exchanges.PyStore(b"/" + b"a" * 4063, 1)
