"""The applications of the experiments do what their paths say."""

import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import halfsync
from halfsync.lab.applications import app


def ask(path: str, sent: bytes = b"") -> tuple[str, bytes]:
    statuses: list[str] = []

    def start_response(status: str, fields: list[tuple[str, str]]) -> None:
        statuses.append(status)
        lengths.append(int(dict(fields)["Content-Length"]))

    lengths: list[int] = []
    environ: dict[str, Any] = {"PATH_INFO": path, "wsgi.input": io.BytesIO(sent)}
    answer = b"".join(app(environ, start_response))
    assert lengths == [len(answer)]
    return statuses[0], answer


def test_hello() -> None:
    assert ask("/") == ("200 OK", b"hello\n")


@pytest.mark.parametrize(
    "path", ["/other", "/sleep/x", "/sleep/nan", "/burn/nan", "/hold/-1", "/body/inf", "//", "/sleep/1/2"]
)
def test_other_paths_are_not_found(path: str) -> None:
    assert ask(path)[0] == "404 Not Found"


def test_sleep_waits_without_the_processor() -> None:
    began, used = time.monotonic(), time.thread_time()
    assert ask("/sleep/30") == ("200 OK", b"hello\n")
    assert time.monotonic() - began >= 0.03
    assert time.thread_time() - used < 0.02


def test_burn_uses_the_processor() -> None:
    used = time.thread_time()
    assert ask("/burn/20") == ("200 OK", b"hello\n")
    assert time.thread_time() - used >= 0.02


@pytest.mark.parametrize("path", ["/hold/60", "/stop/0.06"])
def test_hold_and_stop_keep_the_gil(path: str) -> None:
    """Another thread, which looks at the clock without end, sees no moment while the GIL is kept."""
    longest_s, over = [0.0], threading.Event()

    def look() -> None:
        last = time.monotonic()
        while not over.is_set():
            now = time.monotonic()
            longest_s[0] = max(longest_s[0], now - last)
            last = now

    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert ask(path) == ("200 OK", b"hello\n")
    finally:
        over.set()
        thread.join()
    assert longest_s[0] >= 0.06


def test_bodies() -> None:
    assert ask("/body/70000") == ("200 OK", bytes(70_000))
    assert ask("/read", b"x" * 200_000) == ("200 OK", b"200000\n")


def test_the_process_is_as_its_environment_says() -> None:
    code = (
        "import sys, threading\n"
        "from halfsync.lab import applications\n"
        "applications.read_objects()\n"
        "print(sum(map(len, applications.OBJECTS)) >> 20, end=' ')\n"
        "print(len(applications.BALLAST), threading.active_count(), sys.getswitchinterval())\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(halfsync.__file__).parent.parent),
        "LAB_BALLAST_MB": "3",
        "LAB_OBJECTS_MB": "2.1",
        "LAB_BURNERS": "2",
        "LAB_SWITCH_INTERVAL_S": "0.0005",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["2", str(3 << 20), "3", "0.0005"]


def test_touch_writes_to_memory_of_its_own_thread() -> None:
    assert ask("/touch/100") == ("200 OK", b"hello\n")
    assert ask("/touch/0.01") == ("200 OK", b"hello\n")
    used = time.thread_time()
    assert ask("/touch/262144") == ("200 OK", b"hello\n")
    assert time.thread_time() - used > 0.001  # 4 million lines
