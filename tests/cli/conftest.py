"""What all tests of the command line need."""

import os
from pathlib import Path

import pytest

import halfsync
from halfsync.runtime import output

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


@pytest.fixture(autouse=True)
def no_server_has_set_up_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin as a process does: standard error becomes a log only once a server is set up."""
    monkeypatch.setattr(output, "_dress", None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an application, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(halfsync.__file__).parent.parent))
    for name in [name for name in os.environ if name.startswith("HALFSYNC_")]:
        monkeypatch.delenv(name)
    (tmp_path / "site_app.py").write_text(APP)
    return tmp_path
