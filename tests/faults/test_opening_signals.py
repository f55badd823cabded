"""A signal between any two lines that open a server's sockets and write its pidfile leaves no file behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.serving import environment

APP = "def app(environ, start_response): return []\n"
# Sends itself a signal before the line with a number, of those that run where files are made; and SIGTERM once it
# serves, when it says how many lines there were.
SIGNALLING = """
import os, signal, sys
import halfsync.supervisor.supervise, halfsync.foreground
from halfsync.cli import main
from halfsync.host.notify import Notifier

PLACES = (
    "listening/opening.py", "listening/unix_sockets.py", "supervisor/sockets.py", "host/pidfile.py",
    "halfsync/server.py",
)
number, due, pid, lines = int(sys.argv[1]), int(sys.argv[2]), os.getpid(), 0

def trace(frame, event, argument):
    global lines
    if event == "call":
        return trace if frame.f_code.co_filename.endswith(PLACES) and os.getpid() == pid else None
    if event == "line":
        if lines == due:
            os.kill(pid, number)
        lines += 1
    return trace

def ready(self, status=""):
    print(lines, flush=True)
    os.kill(pid, signal.SIGTERM)

Notifier.ready = ready
sys.settrace(trace)
sys.exit(main(["serve", "app:app", *sys.argv[3:]]))
"""
NEVER = -1
EACH = 7  # a number that no loop's length is likely to be a multiple of


def run(directory: Path, due: int, number: int, options: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a server that gets this signal before the line that is due."""
    return subprocess.run(
        [sys.executable, "-c", SIGNALLING, str(number), str(due), *options],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("kind", [[], ["--workers", "1"], ["--workers", "1", "--preload"]], ids=" ".join)
@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_between_any_two_lines_that_open_leaves_no_file(
    tmp_path: Path, kind: list[str], number: int
) -> None:
    (tmp_path / "app.py").write_text(APP)
    options = [*kind, "--pidfile", "pid", "-b", "unix:one", "-b", "unix:other"]
    there = run(tmp_path, NEVER, number, options)
    assert there.returncode == 0, there.stderr
    lines = int(there.stdout)
    assert lines > 10 * EACH
    for due in range(number % EACH, lines, EACH):
        ended = run(tmp_path, due, number, options)
        assert ended.returncode in ((0,) if number == 15 else (0, 130)), (due, ended.stderr)
        assert "Traceback" not in ended.stderr, (due, ended.stderr)
        assert [path.name for path in tmp_path.iterdir() if path.is_socket() or path.name == "pid"] == [], due
