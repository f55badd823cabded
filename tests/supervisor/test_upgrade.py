"""SIGUSR2: another program replaces a running one, with its sockets and its clients."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.client import Connection, build, fetch
from tests.faults.load import APP, Load
from tests.faults.serving import MODELS, Serving
from tests.wsgi import until


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


def pid_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def end(pid: int) -> None:
    """End a supervisor that is not a child of this process, and wait for it."""
    os.kill(pid, signal.SIGTERM)
    until(
        lambda: (
            not Path(f"/proc/{pid}").exists()
            or "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1]
        )
    )


def test_upgrade_costs_no_request_and_no_connection(tmp_path: Path, model: tuple[str, ...]) -> None:
    pidfile = tmp_path / "pid"
    # The threads: in a pool an idle connection ends if others wait for its thread.
    options = (
        *model,
        "--workers",
        "2",
        "--threads",
        "16",
        "--pidfile",
        str(pidfile),
        "-b",
        f"unix:{tmp_path}/socket",
    )
    with Serving(tmp_path, APP, *options) as serving:
        serving.wait_lines("all 2 processes serve", 1)
        kept = Connection(serving.address)
        kept.send(build("/small"))
        assert kept.response().body == b"small"
        with Load(lambda: serving.address) as load:
            load.wait_answers(20)
            serving.signal(signal.SIGUSR2)
            assert serving.process.wait(30) == 0
            load.wait_answers(20)
        assert not load.tally.failures, load.tally.reasons()
        if "pool" not in model:  # there idle connections end for those that wait for a thread
            kept.send(build("/small"))
            assert kept.response().body == b"small"
        kept.socket.close()
        serving.wait_lines("all 2 processes serve", 2)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/socket")
        until(lambda: pid_in(pidfile) not in (0, serving.process.pid))
        end(pid_in(pidfile))
        assert not pidfile.exists()
        assert not (tmp_path / "socket").exists()


def test_upgrade_that_cannot_start_changes_nothing(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    with Serving(tmp_path, APP, "--workers", "1", "--pidfile", str(pidfile)) as serving:
        serving.wait_line("1 process serves")
        (tmp_path / "served.py").write_text("import no_such_module")
        serving.signal(signal.SIGUSR2)
        assert "ended with 3" in serving.wait_line("the upgrade failed")
        assert fetch(serving.address, "/small").body == b"small"
        until(lambda: pid_in(pidfile) == serving.process.pid)
        (tmp_path / "served.py").write_text(APP)
        serving.signal(signal.SIGUSR2)
        assert serving.process.wait(30) == 0
        assert fetch(serving.address, "/small").body == b"small"
        until(lambda: pid_in(pidfile) not in (0, serving.process.pid))
        end(pid_in(pidfile))


LOADS = (
    APP
    + """
import os
os.write(2, b"loading\\n")
"""
)
# It serves by several processes, or, if there is a file "alone", by this one.
PROGRAM = """
import os, sys
import halfsync
from served import app
halfsync.serve(app, workers=None if os.path.exists("alone") else 1, bind="127.0.0.1:0", pidfile="pid")
"""


@pytest.mark.parametrize("kind", ["command", "program"])
def test_program_without_a_supervisor_does_not_replace_a_supervisor(tmp_path: Path, kind: str) -> None:
    settings = tmp_path / "halfsync.toml"
    (tmp_path / "program.py").write_text(PROGRAM)
    settings.write_text('workers = 1\nbind = "127.0.0.1:0"\npidfile = "pid"\n')
    command = (sys.executable, "program.py") if kind == "program" else ()
    with Serving(tmp_path, LOADS, bind="", command=command) as serving:
        serving.wait_line("1 process serves")
        (tmp_path / "alone").touch()
        settings.write_text('bind = "127.0.0.1:0"\npidfile = "pid"\n')
        loaded = serving.lines.count("loading")
        for number in (1, 2):
            serving.signal(signal.SIGUSR2)
            serving.wait_lines("workers is no longer set, and only a supervisor can replace", number)
            serving.wait_lines("the upgrade failed: the new program ended with", number)
        assert kind == "program" or serving.lines.count("loading") == loaded
        assert pid_in(tmp_path / "pid") == serving.process.pid
        assert fetch(serving.address, "/small").body == b"small"
        (tmp_path / "alone").unlink()
        settings.write_text('workers = 1\nbind = "127.0.0.1:0"\npidfile = "pid"\n')
        serving.signal(signal.SIGUSR2)
        assert serving.process.wait(30) == 0
        until(lambda: pid_in(tmp_path / "pid") not in (0, serving.process.pid))
        end(pid_in(tmp_path / "pid"))
