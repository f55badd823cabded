"""`import-config`: a file of settings, made from the configuration of gunicorn."""

from __future__ import annotations

import os

from halfsync.errors import UsageError, reason_of
from halfsync.migration.configuration import find_computed, run_configuration
from halfsync.migration.gunicorn import convert
from halfsync.migration.toml import write_toml
from halfsync.runtime.output import counted, flush_output, standard_error, standard_output

OPTIONS = "GUNICORN_CMD_ARGS"


def import_configuration(location: str, output: str | None, *, overwrite: bool) -> None:
    """Print a configuration as settings, or write it to a file. Raises StartError.

    location: FILE, file:FILE or python:MODULE. overwrite: replace the file if it is there, and say so.
    """
    if output is not None and os.path.exists(output) and not overwrite:  # noqa: PTH110 - as everywhere
        raise UsageError(
            f"{output} is there already", origin="--output", remedy="name a new file, or add --overwrite"
        )
    values, source = run_configuration(location)
    flush_output()
    done = convert(values, _name_for_hooks(location, values), find_computed(source))
    text = write_toml(done, location)
    notes = []
    if os.environ.get(OPTIONS):
        notes.append(f"${OPTIONS} is set, and was not read: {os.environ[OPTIONS]}")
    if output is None:
        standard_output.write(text)
    else:
        notes.append(_write(text, output))
    notes.append(
        f"{counted(len(done.moved), 'setting is', 'settings are')} written, "
        f"{counted(len(done.left), 'is not', 'are not')}; try them: halfsync check MODULE:CALLABLE"
    )
    for note in notes:
        standard_error.write(f"{note}\n")


def _name_for_hooks(location: str, values: object) -> str:
    """Return the file as the settings of hooks name it: with its whole path, if they are used in another directory."""
    assert isinstance(values, dict)
    if location.startswith("python:"):
        return location.removeprefix("python:")
    path = location.removeprefix("file:")
    return os.path.abspath(path) if values.get("chdir") else path  # noqa: PTH100


def _write(text: str, output: str) -> str:
    """Write the file, and return what to say about it. Raises UsageError."""
    was_there = os.path.exists(output)  # noqa: PTH110
    try:
        with open(output, "w" if was_there else "x", encoding="utf-8") as file:  # noqa: PTH123
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"{output} cannot be written: {reason_of(error)}", origin="--output", remedy="name another file"
        ) from None
    return f"{'replaced' if was_there else 'wrote'} {output}"
