"""Variables of the environment that settings give to an application.

They belong to the process, as the working directory does. What was set before is undone when it is set again, so that
a reload leaves no variable behind that its settings no longer name.
"""

import errno
import re
from collections.abc import Iterable

from halfsync.errors import UsageError, reason_of
from halfsync.runtime.originals import os

BYTES_MOST = 1_048_576  # the longest file of variables

_outside: dict[
    str, str | None
] = {}  # each variable that was set here, as it was before; None: there was none

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", re.ASCII)
_QUOTED = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)\"""")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def outside() -> dict[str, str]:
    """Return the environment as it is without the variables that were set here."""
    environ = dict(os.environ)
    for name, before in _outside.items():
        if before is None:
            environ.pop(name, None)
        else:
            environ[name] = before
    return environ


def set_variables(variables: Iterable[tuple[str, str]], file: str | None) -> None:
    """Set these variables, and, unless they are set already, those in a file, in the place of those set here before.

    Raises UsageError for a file that cannot be used; then nothing has changed.
    """
    before = outside()
    wanted = {} if file is None else {n: v for n, v in read_variables(file) if n not in before}
    wanted |= dict(variables)
    for name in [name for name in _outside if name not in wanted]:
        if name in before:
            os.environ[name] = before[name]
        else:
            os.environ.pop(name, None)
        del _outside[name]
    for name, value in wanted.items():
        _outside[name] = before.get(name)
        os.environ[name] = value


def read_variables(path: str) -> list[tuple[str, str]]:
    """Return the variables in a file, each on a line ``NAME=VALUE``. Raises UsageError.

    A value may be in single quotes, as it is, or in double quotes, with \\n, \\" and \\\\. Elsewhere `` #`` begins a
    comment. ``export`` may stand before a name. Nothing is expanded.
    """
    found: list[tuple[str, str]] = []
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        value = None if match is None else _value_of(match[2])
        if match is None or value is None:
            raise UsageError(
                "not a line of the form NAME=VALUE"
                if match is None
                else f"the value of {match[1]} has an open quote",
                origin=f"{path}, line {number}",
                remedy='write each variable on one line, as in NAME="a value"',
            )
        found.append((match[1], value))
    return found


def _value_of(text: str) -> str | None:
    """Return the value that is written behind an equals sign; None: its quotes do not end."""
    if text[:1] in ("'", '"'):
        match = _QUOTED.match(text)
        rest = "" if match is None else text[match.end() :].strip()
        if match is None or (rest and not rest.startswith("#")):
            return None
        if match[1] is not None:
            return match[1]
        return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), match[2])
    return "" if text.startswith("#") else re.split(r"\s#", text, maxsplit=1)[0].rstrip()


def _read_text(path: str) -> str:
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError(errno.EINVAL, "not a regular file")
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            content = file.read(BYTES_MOST + 1)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {reason_of(error)}",
            origin="env_file",
            remedy="name a file of lines NAME=VALUE",
        ) from None
    if len(content) > BYTES_MOST:
        raise UsageError(
            f"{path} has more than {BYTES_MOST} bytes", origin="env_file", remedy="name a smaller file"
        )
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8", origin="env_file", remedy="save it as UTF-8") from None
    if "\0" in text:
        raise UsageError(f"{path} has a zero byte", origin="env_file", remedy="name a file of text")
    return text
