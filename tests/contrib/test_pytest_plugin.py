"""The plugin of pytest: a test of a user gets a server, which is gone after the test."""

import subprocess
import sys
from pathlib import Path

from tests.faults.serving import environment

TESTS = """
from urllib.request import urlopen
import pytest

URLS = []

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

def test_it_serves(halfsync_server):
    first, second = halfsync_server(app), halfsync_server(app, model="thread")
    for server in (first, second):
        assert urlopen(server.url).read() == b"hello"
        URLS.append(server.url)
    assert first.settings.threads == 4

def test_it_is_gone():
    for url in URLS:
        with pytest.raises(OSError):
            urlopen(url)
    assert len(URLS) == 2

def test_a_mistake_is_shown(halfsync_server):
    from halfsync import UsageError
    with pytest.raises(UsageError):
        halfsync_server(app, workers=2)
"""


def test_the_fixture(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr
