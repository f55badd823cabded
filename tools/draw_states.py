"""Draw the states of a connection in ARCHITECTURE.md: its phases and its owners, from the tables in the sources.

With --check, write nothing, and end with 1 if the page is stale.
"""

import re
import sys
from collections.abc import Iterator

from tools.written import ROOT, write_or_check

PHASES = ROOT / "src" / "halfsync" / "engine" / "phases.pxd"
OWNERS = ROOT / "src" / "halfsync" / "engine" / "ownership.pxd"
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- drawn by tools/draw_states.py -->", "<!-- end of the drawing -->"
MAKERS = {"E": "engine", "W": "worker"}

_MACRO = re.compile(r"#define (HS_[A-Z]+) \((.*)\)$", re.MULTILINE)
_ROW = re.compile(r"^ *\{(.+), PHASE_(\w+), '(\w)'\}, +/\* (.+?) \*/$", re.MULTILINE)
_ENUM = re.compile(r"^ +PHASE_(\w+), +/\* (.+?) \*/$", re.MULTILINE)
_OWNER = re.compile(r'"""(\w+) -> (\w+)(?:[:;.,]| ->)')


def transitions(text: str) -> Iterator[tuple[list[str], str, str, str]]:
    """Yield each row of the table of phases: from which, to which, who makes it, and when."""
    names = [name for name, _ in _ENUM.findall(text)]
    macros = dict(_MACRO.findall(text))
    for origin, target, maker, when in _ROW.findall(text):
        spelled = re.sub(r"HS_RECEIVING", lambda match: macros[match[0]], origin)
        found = re.findall(r"HS_PHASE\((\w+)\)", spelled)
        if "~" in spelled:
            found = [name for name in names if name not in found]
        yield found, target, MAKERS[maker], when


def draw() -> str:
    """Return the two tables, as they stand in the page."""
    text = PHASES.read_text(encoding="utf-8")
    lines = ["", "| phase | what it means |", "|---|---|"]
    lines += [f"| {name} | {meaning} |" for name, meaning in _ENUM.findall(text)]
    lines += ["", "| from | to | by | when |", "|---|---|---|---|"]
    for origins, target, maker, when in transitions(text):
        lines.append(f"| {', '.join(origins)} | {target} | {maker} | {when} |")
    owners = dict.fromkeys(
        f"{a.upper()} → {b.upper()}" for a, b in _OWNER.findall(OWNERS.read_text(encoding="utf-8"))
    )
    lines += ["", f"Changes of owner: {', '.join(owners)}.", ""]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Write the drawing into the page, or check it. Return the exit code."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return write_or_check({PAGE: f"{before}{BEGIN}\n{draw()}\n{END}{after}"}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
