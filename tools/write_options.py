"""Write src/halfsync/settings/options.py from the declaration of the settings; with --check, fail if it is stale."""

import sys
from typing import TYPE_CHECKING

from tools.write_settings_page import find_sources
from tools.written import ROOT, write_or_check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from halfsync.settings import Setting

MODULE = ROOT / "src" / "halfsync" / "settings" / "options.py"
LITERALS_MOST = 8  # more fill lines
HEAD = '''\
"""The settings of `Server` and `serve` as keyword arguments, for type checkers. Nothing imports this at run time.

Written by `make docs` from the declaration (tools/write_options.py): change that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict

Texts = str | Sequence[str]
Directories = Mapping[str, str | PathLike[str]] | Sequence[str | tuple[str, str | PathLike[str]]] | str


class ServerOptions(TypedDict, total=False):
    """The settings of a `Server` (docs/settings.md)."""

'''
SERVE_HEAD = '''

class ServeOptions(ServerOptions, total=False):
    """The settings of `serve`: those of a `Server`, and those of a process that does nothing but serve."""

'''


def type_of(setting: "Setting") -> str:
    """Return the type of a setting's argument."""
    from halfsync.settings.kinds import Choice, Optional  # noqa: PLC0415 - importable only after find_sources
    from halfsync.settings.lanes import Lanes  # noqa: PLC0415
    from halfsync.settings.lists import ListKind, Mounts, SchemeHeaders  # noqa: PLC0415

    declared = annotations()[setting.name]
    if isinstance(setting.kind, Choice) and len(setting.kind.choices) <= LITERALS_MOST:
        return f"Literal[{', '.join(f'{name!r}' for name in setting.kind.choices)}]".replace("'", '"')
    if isinstance(setting.kind, Lanes):
        return "Mapping[str, Mapping[str, object]]"
    if isinstance(setting.kind, Mounts):
        return "Directories"
    if isinstance(setting.kind, SchemeHeaders):
        return "Mapping[str, str] | Texts"
    if isinstance(setting.kind, ListKind):
        return "Texts"
    base = declared.removesuffix(" | None")
    wide = {"bool": "bool | str", "int": "int | str", "float": "float | str", "str": "str"}[base]
    if base == "str" and _kind_is_path(setting):
        wide = "str | PathLike[str]"
    return f"{wide} | None" if declared != base or isinstance(setting.kind, Optional) else wide


def _kind_is_path(setting: "Setting") -> bool:
    from halfsync.settings.kinds import Path  # noqa: PLC0415 - importable only after find_sources

    inner = getattr(setting.kind, "_kind", setting.kind)
    return isinstance(inner, Path)


def annotations() -> dict[str, str]:
    """Return the types of the settings as the declaration has them."""
    from halfsync.settings.declaration import DeclaredSettings  # noqa: PLC0415 - importable only after find_sources

    return {
        name: one if isinstance(one, str) else getattr(one, "__name__", str(one))
        for name, one in DeclaredSettings.__annotations__.items()
    }


def lines(settings: "Sequence[Setting]") -> str:
    """Return a line for each setting."""
    return "".join(f"    {one.name}: {type_of(one)}\n" for one in settings)


def render() -> str:
    """Return the module's text."""
    from halfsync.settings import SETTINGS  # noqa: PLC0415 - importable only after find_sources
    from halfsync.settings.embedded import OF_A_COMMAND, OF_A_PROCESS  # noqa: PLC0415

    rest = [one for one in SETTINGS if one.name not in OF_A_COMMAND]
    server = [one for one in rest if one.name not in OF_A_PROCESS]
    process = [one for one in rest if one.name in OF_A_PROCESS]
    return f"{HEAD}{lines(server)}{SERVE_HEAD}{lines(process)}"


def main(arguments: list[str]) -> int:
    """Write the module, or compare it with what it should be. Return the exit code."""
    find_sources()
    return write_or_check({MODULE: render()}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
