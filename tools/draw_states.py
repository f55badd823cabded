"""Draw the states of a connection and of a request in ARCHITECTURE.md, from the tables in the sources.

With --check, write nothing, and end with 1 if the page is stale.
"""

import re
import sys
from collections.abc import Iterator

from tools.written import ROOT, placed, write_or_check

TABLES = ROOT / "src" / "halfsync" / "engine" / "phases.pxd"
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- drawn by tools/draw_states.py -->", "<!-- end of the drawing -->"
SIDES = {"E": "engine", "W": "worker"}
KINDS = {  # prefix of the states' names, and the heading of their column
    "PHASE": "phase of a connection",
    "REQUEST": "phase of a request",
    "OWNER": "owner of a request",
}

_MACRO = re.compile(r"#define (HS_[A-Z]+) \((.*)\)$", re.MULTILINE)
_STATE = re.compile(r"^ +([A-Z]+)_(\w+)(?: = \d+)?,? +/\* (.+?) \*/$", re.MULTILINE)
_ROW = re.compile(r"^ *\{(.+), ([A-Z]+)_(\w+), '(\w)'\}, +/\* (.+?) \*/$", re.MULTILINE)


def states(text: str, kind: str) -> list[tuple[str, str]]:
    """Return each state of a kind, and what it means."""
    return [(name, meaning) for prefix, name, meaning in _STATE.findall(text) if prefix == kind]


def transitions(text: str, kind: str) -> Iterator[tuple[list[str], str, str, str]]:
    """Yield each row of a kind's table: from which, to which, which side makes it, and when."""
    names = [name for name, _ in states(text, kind)]
    macros = dict(_MACRO.findall(text))
    for origin, prefix, target, side, when in _ROW.findall(text):
        if prefix != kind:
            continue
        spelled = re.sub(r"HS_[A-Z]+\b(?!\()", lambda match: macros[match[0]], origin)
        found = re.findall(rf"HS_FROM\({kind}_(\w+)\)", spelled)
        if "~" in spelled:
            found = [name for name in names if name not in found]
        yield found, target, SIDES[side], when


def draw() -> str:
    """Return the tables, as they stand in the page."""
    text = TABLES.read_text(encoding="utf-8")
    lines = []
    for kind, heading in KINDS.items():
        lines += ["", f"| {heading} | what it means |", "|---|---|"]
        lines += [f"| {name} | {meaning} |" for name, meaning in states(text, kind)]
        lines += ["", "| from | to | by | when |", "|---|---|---|---|"]
        for origins, target, side, when in transitions(text, kind):
            lines.append(f"| {', '.join(origins)} | {target} | {side} | {when} |")
    return "\n".join([*lines[1:], ""])


def main(arguments: list[str]) -> int:
    """Write the drawing into the page, or check it. Return the exit code."""
    return write_or_check({PAGE: placed(PAGE, BEGIN, draw(), END)}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
