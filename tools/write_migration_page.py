"""Write the tables of other servers' settings into docs/from-gunicorn.md; with --check, fail if they are stale."""

import sys

from tools.write_log_pages import table
from tools.write_settings_page import find_sources
from tools.written import ROOT, write_or_check

PAGE = ROOT / "docs" / "from-gunicorn.md"
END = "<!-- end of the table -->"


def begin(server: str) -> str:
    """Return the line before a server's table."""
    return f"<!-- written by tools/write_migration_page.py: {server} -->"


def rows(server: str) -> list[tuple[str, str]]:
    """Return what stands in a server's table: each setting, and what becomes of it."""
    from halfsync.migration.servers import FALSE_FRIENDS, SERVERS  # noqa: PLC0415 - importable only after find_sources
    from halfsync.settings.elsewhere import explain  # noqa: PLC0415

    found = []
    for name in SERVERS[server]:
        said = FALSE_FRIENDS.get((server, name)) or explain(name.replace("-", "_"))
        assert said, f"{server}'s {name} has neither a counterpart nor a reason"
        found.append((f"`{name}`", said.replace("|", "\\|")))
    return found


def render(text: str) -> str:
    """Return the page's text with each table as it must be."""
    from halfsync.migration.servers import SERVERS  # noqa: PLC0415 - importable only after find_sources

    for server in SERVERS:
        before, begins, rest = text.partition(begin(server))
        _, ends, after = rest.partition(END)
        assert begins and ends, f"{PAGE} has no place for {server}"
        text = f"{before}{begins}\n\n{table((server, 'halfsync'), rows(server))}\n{ends}{after}"
    return text


def main(arguments: list[str]) -> int:
    """Write the tables, or compare them with what they should be. Return the exit code."""
    find_sources()
    return write_or_check({PAGE: render(PAGE.read_text(encoding="utf-8"))}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
