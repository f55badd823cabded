"""halfsync as process 1, as in a container: it adopts orphans, and only its own processes affect it."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.client import fetch
from tests.faults.serving import MODELS, Serving, children
from tests.faults.test_processes import states
from tests.wsgi import until

ORPHANS = 1000
ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

# It leaves orphans that wait until a process opens the pipe to write, and then end in every way.
LEAVES_ORPHANS = f"""
import os, signal
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
for number in range({ORPHANS}):
    if os.fork() == 0:
        os.open("pipe", os.O_RDONLY)
        if number % 4 < 3:
            os.kill(os.getpid(), SIGNALS[number % 4])
        os._exit(number % 256)
"""

APP = f"""
import os, subprocess, sys
def app(environ, start_response):
    command = {{"/orphans": {LEAVES_ORPHANS!r}, "/seven": "raise SystemExit(7)"}}[environ["PATH_INFO"]]
    code = subprocess.run([sys.executable, "-S", "-E", "-c", command], stderr=subprocess.DEVNULL).returncode
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(code).encode()]
"""


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the options of each model in turn, and of each poller for the engine's."""
    return MODELS[request.param]


@pytest.fixture(autouse=True)
def namespaces() -> None:
    """Skip if no process can be the first of its own namespace."""
    if os.getuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root, with unshare, makes a namespace of processes")
    done = subprocess.run([*ALONE, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no namespace can be made here: {done.stderr.strip()}")


def served(tmp_path: Path, *options: str) -> Serving:
    os.mkfifo(tmp_path / "pipe")
    return Serving(tmp_path, APP, *options, under=ALONE)


def process_one(serving: Serving) -> int:
    """Return the number, here, of the process that is number 1 there."""
    (first,) = children(serving.process.pid)
    return first


def test_it_reaps_whoever_it_adopts(tmp_path: Path, model: tuple[str, ...]) -> None:
    with served(tmp_path, *model, "--workers", "2") as serving:
        serving.wait_line("all 2 processes serve")
        first = process_one(serving)
        own = children(first)
        said = len(serving.lines)
        assert fetch(serving.address, "/orphans").body == b"0"
        until(lambda: len(children(first)) == 2 + ORPHANS)
        os.kill(first, signal.SIGSTOP)  # so that there is one signal for many ends
        with (tmp_path / "pipe").open("wb"):  # for those, too, that come to it late
            until(lambda: list(states(first).values()).count("Z") == ORPHANS)
        os.kill(first, signal.SIGCONT)
        until(lambda: children(first) == own)
        assert fetch(serving.address, "/seven").body == b"7"
        assert serving.lines[said:] == []
        os.kill(first, signal.SIGTERM)
        assert serving.exit_code() == 0
        assert not [pid for pid in own if Path(f"/proc/{pid}").exists()]


def test_it_cannot_be_upgraded(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as serving:
        serving.wait_line("all 2 processes serve")
        first = process_one(serving)
        own = children(first)
        os.kill(first, signal.SIGUSR2)
        assert "start another server beside it" in serving.wait_line("upgrade refused")
        assert children(first) == own
        assert fetch(serving.address, "/seven").body == b"7"


def test_without_a_supervisor_the_application_reaps_its_own_children(
    tmp_path: Path, model: tuple[str, ...]
) -> None:
    """The children of a lone server are the application's, as well as those that it adopts: it reaps neither."""
    with served(tmp_path, *model) as serving:
        first = process_one(serving)
        assert fetch(serving.address, "/orphans").body == b"0"
        os.close(os.open(tmp_path / "pipe", os.O_WRONLY))
        for _ in range(5):
            assert fetch(serving.address, "/seven").body == b"7"
        os.kill(first, signal.SIGTERM)
        assert serving.exit_code() == 0
