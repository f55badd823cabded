r"""Wire cases as files: what is sent, byte for byte, and what a server must do with it.

A `.http` file holds cases one after the other::

    === name-of-the-case
    expect: accept
    method: GET
    why: what this case is about

    GET / HTTP/1.1\r\n
    Host: a\r\n
    \r\n

The lines up to the first empty one are about the case, the others are its wire. A line break of the file is
not on the wire, and everything but printable ASCII is written as an escape: ``\r \n \t \\ \xNN``, and
``\{8000:a}`` for ``a`` eight thousand times. Lines that begin with ``#`` before the first case are comments.

`expect` is ``accept``, ``incomplete`` (a server must go on waiting) or the status of the refusal, after which
the connection must be closed. With ``accept``, the other lines tell what must have been understood (see
`PROPERTIES`); what they do not name is not compared, but for `leftover`, which is empty unless it is told.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# The limits that the cases were written for, in bytes and fields: a server under test must be given the same.
REQUEST_LINE_BYTES = 8192
FIELD_BYTES = 8192
FIELDS = 100
HEAD_BYTES = 32768

Property = bytes | int | bool | tuple[int, int] | tuple[bytes, bytes] | None

ESCAPE = re.compile(rb"\\(?:(r|n|t|\\)|x([0-9a-f]{2})|\{([0-9]+):((?:[^}\\]|\\.)+)\})")
SIMPLE = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its wire, and what must come of it."""

    name: str  # "file/case", unique
    why: str
    wire: bytes
    expect: Literal["accept", "refuse", "incomplete"]
    status: int | None  # of the refusal
    properties: tuple[tuple[str, Property], ...]  # as in PROPERTIES; `header` may come several times


def unescape(text: str) -> bytes:
    """Return the bytes that a line of a file means. ValueError: a backslash that begins no escape."""

    def replace(match: re.Match[bytes]) -> bytes:
        simple, code, times, unit = match.groups()
        if simple:
            return SIMPLE[simple]
        return bytes([int(code, 16)]) if code else int(times) * unescape(unit.decode())

    if b"\\" in ESCAPE.sub(b"", text.encode("ascii")):
        raise ValueError(f"a backslash that begins no escape: {text}")
    return ESCAPE.sub(replace, text.encode("ascii"))


def _header(text: str) -> tuple[bytes, bytes]:
    name, _, value = text.partition(":")
    return unescape(name), unescape(value.strip())


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def _yes(text: str) -> bool:
    return {"yes": True, "no": False}[text]


# What a case may state about an accepted request, and how it is read.
PROPERTIES: dict[str, Callable[[str], Property]] = {
    "method": unescape,
    "target": unescape,
    "path": unescape,
    "query": unescape,
    "authority": unescape,
    "version": _version,
    "header": _header,
    "content_length": lambda text: None if text == "none" else int(text),
    "chunked": _yes,
    "keep_alive": _yes,
    "expect_continue": _yes,
    "upgrade": _yes,
    "body": unescape,
    "leftover": unescape,
}


def parse(file: str, text: str) -> list[Case]:
    """Read the cases of one file. ValueError: it is not written as the module says."""
    cases = []
    preamble, *sections = re.split(r"^=== ", text, flags=re.MULTILINE)
    if any(line and not line.startswith("#") for line in preamble.splitlines()):
        raise ValueError(f"{file}: text before the first case")
    for section in sections:
        about, _, wire = section.partition("\n\n")
        name, *lines = about.splitlines()
        told = [(key, value.strip()) for key, _, value in (line.partition(":") for line in lines)]
        unknown = {key for key, _ in told} - {"expect", "why", *PROPERTIES}
        expects = [value for key, value in told if key == "expect"]
        if unknown or len(expects) != 1:
            raise ValueError(f"{file}/{name}: one expect is needed; unknown: {sorted(unknown)}")
        expect = expects[0]
        if expect not in ("accept", "incomplete") and not re.fullmatch("[45][0-9][0-9]", expect):
            raise ValueError(f"{file}/{name}: expect is accept, incomplete or a status, not {expect}")
        properties = [(key, PROPERTIES[key](value)) for key, value in told if key in PROPERTIES]
        if properties and expect != "accept":
            raise ValueError(f"{file}/{name}: only an accepted request has properties")
        cases.append(
            Case(
                name=f"{file}/{name}",
                why=" ".join(value for key, value in told if key == "why"),
                wire=b"".join(unescape(line) for line in wire.splitlines()),
                expect="accept" if expect == "accept" else "refuse" if expect.isdigit() else "incomplete",
                status=int(expect) if expect.isdigit() else None,
                properties=tuple(properties),
            )
        )
    return cases


def load() -> list[Case]:
    """Read every case. ValueError: a file is not written as the module says, or two cases have one name."""
    files = sorted(Path(__file__).parent.glob("*.http"))
    cases = [case for file in files for case in parse(file.stem, file.read_text("ascii"))]
    names = [case.name for case in cases]
    if len(set(names)) != len(names):
        raise ValueError(f"names that stand twice: {sorted({n for n in names if names.count(n) > 1})}")
    return cases
