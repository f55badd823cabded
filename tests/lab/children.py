"""The lab's server of processes, and what it must not leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from halfsync.lab import forking
from halfsync.lab.forking import Order


def start_server(order: Order) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", forking.__file__, json.dumps(asdict(order))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def await_children(server: int) -> None:
    """Wait until the server has some children, most of which have ended."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        children = Path(f"/proc/{server}/task/{server}/children")
        if len(children.read_text().split()) > 20:
            return
        time.sleep(0.005)
    raise AssertionError("the server started no children")


def assert_no_children() -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
