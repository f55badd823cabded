"""Writing what has become of a configuration as a file of settings in TOML, with comments."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence

from halfsync.migration.gunicorn import Conversion, Moved
from halfsync.settings.declaration import SETTINGS

WIDTH = 100


def write_toml(done: Conversion, file: str) -> str:
    """Return the text of a settings file. file: the configuration that it was made from."""
    lines = [f"# Made from {file} by `halfsync import-config`. docs/from-gunicorn.md explains each line."]
    tables: list[str] = []
    group = ""
    for setting in SETTINGS:
        moved = done.moved.get(setting.name)
        if moved is None:
            continue
        if isinstance(moved.value, Mapping):
            tables += ["", *_comment(moved), f"[{setting.name}]", *_pairs(moved.value)]
            continue
        if setting.group != group:
            group = setting.group
            lines += ["", f"# {group}"]
        lines += [*_comment(moved), f"{setting.name} = {_value(moved.value)}"]
    if done.left:
        lines += ["", "# Not moved:"]
        for name, reason in done.left.items():
            lines += textwrap.wrap(
                f"{name}: {reason}.", WIDTH, initial_indent="# - ", subsequent_indent="#   "
            )
    return "\n".join([*lines, *tables]) + "\n"


def _comment(moved: Moved) -> list[str]:
    if not moved.notes:
        return []
    text = f"{moved.source}: {'; '.join(moved.notes)}"
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _pairs(table: Mapping[str, str]) -> list[str]:
    return [f"{name} = {_text(value)}" for name, value in table.items()]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return _text(str(value))


def _text(value: str) -> str:
    """Return a text as TOML's basic string, which is written like JSON's, except for DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
