"""`flask halfsync`: serve the application that Flask's command line has found, with halfsync.

An entry point of Flask's commands: it is there once both packages are installed.
"""

from __future__ import annotations

import os
import sys

import click
from flask.cli import ScriptInfo, pass_script_info


@click.command(
    "halfsync",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@pass_script_info
def command(info: ScriptInfo, options: tuple[str, ...]) -> None:
    """Serve the application with halfsync.

    OPTIONS are those of `halfsync serve`, as in `flask --app shop halfsync -w 4`.
    """
    if any(one in ("-h", "--help") for one in options):
        _become("serve", "--help")
    info.load_app()  # a mistake is Flask's to report
    if info.app_import_path:
        os.environ["FLASK_APP"] = info.app_import_path
    _become("serve", "halfsync.contrib.flask:make_app", "--factory", *options)


def _become(*arguments: str) -> None:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "halfsync", *arguments])


def make_app() -> object:
    """Return the application that Flask's command line finds: FLASK_APP, or wsgi.py or app.py."""
    return ScriptInfo(app_import_path=os.environ.get("FLASK_APP")).load_app()
