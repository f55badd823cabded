"""Files of this repository that a tool writes from other files. `make lint` checks that none is stale."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def placed(page: Path, begin: str, text: str, end: str) -> str:
    """Return a page with what is between two of its lines, `begin` and `end`, replaced by a text.

    AssertionError: the page does not have both.
    """
    before, begins, rest = page.read_text(encoding="utf-8").partition(begin)
    _, ends, after = rest.partition(end)
    assert begins and ends, f"{page} has no place for what is written into it: {begin}, {end}"
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def write_or_check(files: Mapping[Path, str], arguments: Sequence[str], root: Path = ROOT) -> int:
    """Write each file with its text or, with --check, compare them. Return the exit code: 1 if one is stale."""
    code = 0
    for path, text in files.items():
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(root)}")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.relative_to(root)} is stale: run `make docs`", file=sys.stderr)
            code = 1
    return code
