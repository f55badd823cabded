"""Running a gunicorn.conf.py, as gunicorn does: it is Python, and what it leaves behind is the configuration."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from halfsync.errors import LoadError, reason_of
from halfsync.loading.directory import enter
from halfsync.loading.importing import import_file, import_module
from halfsync.migration.gunicorn import NAMES

COMPUTING = ("environ", "getenv", "cpu_count")
SOURCE_MOST = 80  # characters of an expression that is shown


def run_configuration(location: str) -> tuple[Mapping[str, object], str]:
    """Run a configuration, and return the names in it, and its source. Raises LoadError.

    location: as gunicorn's --config: FILE, file:FILE or python:MODULE. Modules beside it, and in the working directory,
    are found.
    """
    enter(None)
    scheme, colon, rest = location.partition(":")
    if colon and scheme == "python":
        module = import_module(rest, location)
        path = getattr(module, "__file__", None) or ""
    else:
        path = rest if colon and scheme == "file" else location
        module = import_file(path, location)
    return vars(module), _read(path, location)


def _read(path: str, location: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is slow to import
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8"
        raise LoadError(f"cannot read {path}: {reason}", origin=location) from None


def find_computed(source: str) -> dict[str, str]:
    """Return how a configuration computes the values of gunicorn's settings that may differ elsewhere, by name.

    That is, with the environment or the number of processors, in the last assignment at the file's top level.
    """
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        target, value = None, None
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = node.targets[0], node.value
        elif isinstance(node, ast.AnnAssign):
            target, value = node.target, node.value
        if not isinstance(target, ast.Name) or value is None or target.id not in NAMES:
            continue
        text = " ".join(ast.unparse(value).split())
        if any(word in text for word in COMPUTING):
            found[target.id] = text if len(text) <= SOURCE_MOST else f"{text[: SOURCE_MOST - 3]}..."
        else:
            found.pop(target.id, None)
    return found
