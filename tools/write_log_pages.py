"""Write the tables of fields into docs/access-log.md and docs/logging.md; with --check, fail if they are stale."""

import ast
import sys
from collections.abc import Iterable

from tools.write_settings_page import find_sources
from tools.written import ROOT, placed, write_or_check

ACCESS_PAGE = ROOT / "docs" / "access-log.md"
SERVER_PAGE = ROOT / "docs" / "logging.md"
SERVER_LOG = ROOT / "src" / "halfsync" / "log.py"  # read, not imported: that would need a build
BEGIN, END = "<!-- written by tools/write_log_pages.py -->", "<!-- end of the table -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def access_table() -> str:
    """Return the table of the access log's fields."""
    from halfsync.settings.access_format import FIELDS  # noqa: PLC0415 - importable only after find_sources

    rows = (
        (
            f"`{one.name}`",
            f"`%({one.name})s`" + (f", `%({one.atom})s`" if one.atom else ""),
            "yes" if one.key else "",
            one.doc,
        )
        for one in FIELDS
    )
    return table(("field", "in a format", "in json and logfmt", "what it is"), rows)


def server_table() -> str:
    """Return the table of the keys of the server's log."""
    tree = ast.parse(SERVER_LOG.read_text(encoding="utf-8"))
    (keys,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "KEYS"
    )
    return table(("key", "what it is"), ((f"`{key}`", doc) for key, doc in keys.items()))


def main(arguments: list[str]) -> int:
    """Write the tables, or compare them with what they should be. Return the exit code."""
    find_sources()
    pages = {
        ACCESS_PAGE: placed(ACCESS_PAGE, BEGIN, access_table(), END),
        SERVER_PAGE: placed(SERVER_PAGE, BEGIN, server_table(), END),
    }
    return write_or_check(pages, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
