"""A configuration is run as gunicorn runs it, and what it computes is known."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from halfsync.errors import LoadError
from halfsync.migration.configuration import find_computed, run_configuration


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before, path = set(sys.modules), list(sys.path)
    (tmp_path / "beside.py").write_text("NUMBER = 7\n")
    (tmp_path / "gunicorn.conf.py").write_text(
        "import os\nfrom beside import NUMBER\nworkers = NUMBER\nx = os.getcwd()\n"
    )
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("location", ["gunicorn.conf.py", "file:gunicorn.conf.py"])
def test_it_may_import_what_is_beside_it(location: str, project: Path) -> None:
    values, source = run_configuration(location)
    assert (values["workers"], values["x"]) == (7, str(project))
    assert source == (project / "gunicorn.conf.py").read_text()


def test_it_may_be_a_module() -> None:
    values, source = run_configuration("python:beside")
    assert (values["NUMBER"], source) == (7, "NUMBER = 7\n")


def test_its_mistakes_are_shown(project: Path) -> None:
    (project / "broken.py").write_text("workers = 1 / 0\n")
    with pytest.raises(LoadError, match=r"running broken\.py failed: ZeroDivisionError") as caught:
        run_configuration("broken.py")
    assert 'broken.py", line 1' in caught.value.traceback
    with pytest.raises(LoadError, match="there is no file"):
        run_configuration("gone.py")


def test_what_depends_on_the_machine_is_found() -> None:
    source = """
import os, multiprocessing
from os import environ
workers = multiprocessing.cpu_count() * 2 + 1
bind: str = "0.0.0.0:" + environ["PORT"]
threads = int(os.getenv("THREADS", "4"))
threads = 3
other = os.environ
timeout = 30
if True:
    keepalive = os.getenv("K")
"""
    assert find_computed(source) == {
        "workers": "multiprocessing.cpu_count() * 2 + 1",
        "bind": "'0.0.0.0:' + environ['PORT']",
    }
