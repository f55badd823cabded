"""Write the table of metrics in docs/metrics.md from the table in the sources.

With --check, write nothing, and end with 1 if the page is stale.
"""

import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tools.written import ROOT, placed, write_or_check

SOURCES = ROOT / "src" / "halfsync"
PAGE = ROOT / "docs" / "metrics.md"
BEGIN, END = "<!-- written by tools/write_metrics_page.py -->", "<!-- end of the table -->"
# The function, in which file, that names the values of a label: of any family, or of one.
LABELS = {
    "method": ("method_name", "shared/metrics.pxd"),
    "outcome": ("outcome_name", "exchange/outcome.pxd"),
    "status": ("status_name", "shared/metrics.pxd"),
}
OWN_LABELS = {
    ("halfsync_connections", "state"): ("state_name", "shared/metrics.pxd"),
    ("halfsync_process_restarts_total", "cause"): ("restart_name", "shared/metrics.pxd"),
    ("halfsync_processes", "state"): ("slot_state_name", "shared/slots.pxd"),
    ("halfsync_refusals_total", "cause"): ("cause_name", "observe/causes.pxd"),
}
FREE_LABELS = {"lane": "the names of the lanes ([lanes](lanes.md)); `(other)`"}  # what their values are
UNUSED = {"", "empty"}  # a request that has not ended; a slot without a process

_ROW = re.compile(r'^    Family\(\s+b"(\w+)", b"(\w+)", b"([\w, ]*)",\s+b"([^"]+)"', re.MULTILINE)


class Family(NamedTuple):
    """A family of metrics: its name, its type, its labels, and what it means."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str


def families() -> Iterator[Family]:
    """Yield each row of the table in the sources."""
    text = (SOURCES / "admin" / "metrics.pyx").read_text(encoding="utf-8")
    for name, kind, labels, about in _ROW.findall(text):
        yield Family(name, kind, tuple(labels.split(", ")) if labels else (), about)


def values(family: Family, label: str) -> list[str]:
    """Return the values that a label can have."""
    function, file = OWN_LABELS.get((family.name, label)) or LABELS[label]
    text = (SOURCES / file).read_text(encoding="utf-8")
    body = re.search(rf"\b(?:hs_)?{function}\(int \w+\)[^\n]*\n(.*?)(?:\n    \}}|\n\n\n|\Z)", text, re.DOTALL)
    if body is None:
        body = re.search(rf"\bhs_{function}\(unsigned int \w+\) \{{\n(.*?)\n    \}}", text, re.DOTALL)
    assert body, f"{file} has no {function}"
    return [value for value in re.findall(r'(?<!"")"([\w.]*)"', body[1]) if value not in UNUSED]


def render() -> str:
    """Return the table, and the values of the labels."""
    lines = ["| metric | type | labels | what it is |", "|---|---|---|---|"]
    listed: dict[str, list[str]] = {}
    for family in families():
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {family.about} |")
        for label in family.labels:
            if label in FREE_LABELS:
                continue
            owner = f"`{label}`" if label in LABELS else f"`{label}` of `{family.name}`"
            listed[owner] = values(family, label)
    lines += ["", "| label | values |", "|---|---|"]
    lines += [f"| {owner} | {', '.join(f'`{value}`' for value in each)} |" for owner, each in listed.items()]
    lines += [f"| `{label}` | {meaning} |" for label, meaning in FREE_LABELS.items()]
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> int:
    """Write the table into the page, or check it. Return the exit code."""
    return write_or_check({PAGE: placed(PAGE, BEGIN, render(), END)}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
