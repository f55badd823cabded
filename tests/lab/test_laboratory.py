"""What experiments are given: servers and loads, each on its processors, and the time that is left."""

import os
import time
from pathlib import Path

import pytest

import halfsync
from halfsync.lab import machine
from halfsync.lab.errors import MeasureError
from halfsync.lab.laboratory import Laboratory, Wanted
from halfsync.lab.load import Load

APP = """
import os

def app(environ, start_response):
    start_response("200 OK", [])
    return [os.getcwd().encode()]
"""


@pytest.fixture
def laboratory(monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    monkeypatch.setenv("PYTHONPATH", str(Path(halfsync.__file__).parent.parent))
    return Laboratory(machine.read(), Wanted(application="own_app:app"), time.monotonic() + 100)


def directory_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/cwd").readlink())


def test_the_applications_of_the_lab_are_served_where_no_settings_are(
    laboratory: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "halfsync.toml").write_text("threads = 'many'\n")
    monkeypatch.chdir(tmp_path)
    with laboratory.serving("--model", "pool") as server:
        assert directory_of(server.pid) == "/"
        assert laboratory.load(Load(server.port, 1, 0.1, warm_up_s=0.0)).answered > 0


def test_the_users_own_application_is_served_where_the_user_is(
    laboratory: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_app.py").write_text(APP)
    (tmp_path / "halfsync.toml").write_text("threads = 3\n")
    monkeypatch.chdir(tmp_path)
    assert laboratory.application == "own_app:app"
    with laboratory.serving(target="own_app:app") as server:
        assert directory_of(server.pid) == str(tmp_path)
    (tmp_path / "halfsync.toml").write_text("threads = 'many'\n")
    with (
        pytest.raises(MeasureError, match=r"did not start.*'many' is not"),
        laboratory.serving(target="own_app:app"),
    ):
        pass


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor is for both")
def test_server_and_generator_have_processors_of_their_own(laboratory: Laboratory) -> None:
    with laboratory.serving() as server:
        of_server = os.sched_getaffinity(server.pid)
        with laboratory.loading(Load(server.port, 1, 0.3)) as generation:
            of_generator = os.sched_getaffinity(generation.pid)
            outcome = generation.wait()
    assert outcome.answered > 0
    assert len(of_generator) == 1
    assert of_server
    assert not of_server & of_generator


def test_variables_reach_the_server(laboratory: Laboratory) -> None:
    with laboratory.serving(environment={"LAB_BURNERS": "2"}) as server:
        assert b"LAB_BURNERS=2" in Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")


def test_the_time_that_is_left_is_never_negative(laboratory: Laboratory) -> None:
    assert 0 < laboratory.left_s <= 100
    laboratory.deadline = time.monotonic() - 5
    assert laboratory.left_s == 0.0
