"""Write docs/settings.md from the declaration of the settings; with --check, fail if it is stale."""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from tools.written import ROOT, write_or_check

if TYPE_CHECKING:
    from halfsync.settings import Setting

PAGE = ROOT / "docs" / "settings.md"

HEAD = """\
# Settings

<!-- Written by `make docs` from src/halfsync/settings/declaration.py: change it there. -->

Every setting is a flag, an environment variable and a key of a TOML file, with the same name and the same
rules. Of several, the first of these counts:

1. the flag on the command line: `--max-body 10m`
2. the environment: `HALFSYNC_MAX_BODY=10m` (a variable that is empty counts as not set)
3. the file that `--config` names, else `halfsync.toml` in the working directory, else the table `[tool.halfsync]`
   of `pyproject.toml` there: `max_body = "10m"`. It is a regular file of at most 1 MiB. At a start, the file that
   `--config` names may also be a pipe, as in `--config <(command)`
4. variables of hosting platforms: `PORT=5000` means bind `0.0.0.0:5000`, `WEB_CONCURRENCY=4` means 4 workers. Sockets
   that systemd passes (`LISTEN_FDS`) come before `PORT`
5. the default

`halfsync check module:callable` prints each setting, its value and its source. A setting that does not exist, in the
file or as a `HALFSYNC_` variable, is an error that names the nearest one that does.

- A **time** is a number with `ms`, `s`, `m` or `h`, as in `500ms`; a plain number is seconds.
- A **size** is a whole number with `k`, `m` or `g`, in steps of 1024, as in `64k`; a plain number is bytes.
- **True or false** is a flag that is given (`--factory`, or `--no-factory` against a file), and in the
  environment `true`, `false`, `yes`, `no`, `on`, `off`, `1` or `0`.
- **Several addresses** are separated by commas, or a list in TOML; `--bind` may also be given several times.
"""


def find_sources() -> None:
    """Make halfsync importable from the sources, so that the page needs no build and no installed version."""
    package = ModuleType("halfsync")
    package.__path__ = [str(ROOT / "src" / "halfsync")]
    # The package's own __init__ may import compiled modules; the settings need none of them.
    sys.modules.setdefault("halfsync", package)


def render() -> str:
    """Return the page's text."""
    from halfsync.settings import GROUPS, SETTINGS  # noqa: PLC0415 - importable only after find_sources

    parts = [HEAD]
    for group in GROUPS:
        parts.append(f"\n## {group}\n")
        parts.extend(entry(setting) for setting in SETTINGS if setting.group == group)
    return "".join(parts)


def entry(setting: "Setting") -> str:
    """Return the part of the page about one setting."""
    flags = f"`{setting.flag}`" if not setting.short else f"`-{setting.short}`, `{setting.flag}`"
    key = "no key: the file does not name itself" if setting.name == "config" else f"`{setting.name}`"
    lines = [
        f"\n### {setting.name}\n",
        f"{setting.doc}\n",
        f"- default: `{setting.kind.show(setting.default)}`. {setting.reason}",
        f"- takes: {setting.kind.accepts}",
        f"- flag {flags}, variable `{setting.variable}`, TOML {key}",
    ]
    if setting.aliases:
        others = ", ".join(f"`--{alias.replace('_', '-')}`" for alias in setting.aliases)
        lines.append(f"- other servers' flags for it are accepted: {others}")
    if setting.reload:
        lines.append(f"- a reload: {setting.reload}")
    if setting.convention is not None:
        variable, template = setting.convention
        lines.append(f"- without any of these: `{template.format('$' + variable)}`, if `${variable}` is set")
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or compare it with what it should be. Return the exit code."""
    find_sources()
    return write_or_check({PAGE: render()}, arguments, ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
