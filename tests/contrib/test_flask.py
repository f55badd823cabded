"""The command of Flask: it serves the application that Flask finds, and its mistakes are Flask's."""

import subprocess
import sys
from pathlib import Path

from tests.client import fetch
from tests.faults.serving import Serving, environment

APP = """
import flask
def create_app(name="nobody"):
    app = flask.Flask(__name__)
    app.add_url_rule("/", "hello", lambda: f"hello {name}")
    return app
app = create_app()
"""


def flask(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flask", *arguments]


def test_it_serves_what_flask_finds(tmp_path: Path) -> None:
    command = flask("--app", "served:create_app('Ann')", "halfsync", "-b", "127.0.0.1:0", "--workers", "1")
    with Serving(tmp_path, APP, command=command) as serving:
        assert fetch(serving.address, "/").body == b"hello Ann"


def test_mistakes_are_reported_before_it_serves(tmp_path: Path) -> None:
    done = subprocess.run(
        flask("--app", "gone", "halfsync"),
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Could not import 'gone'" in done.stderr
