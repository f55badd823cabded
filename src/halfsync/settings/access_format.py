"""The form of a line of the access log: its fields, the formats with a name, and formats of a user's own.

A format is read into pieces when the settings are made, so that a wrong one is an error at the start. The writer of the
log walks the pieces (observe/access_format.pyx). docs/access-log.md has a table written from `FIELDS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from halfsync.errors import UsageError, near
from halfsync.runtime.standard import genuine

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT_MOST = 2048  # bytes of a format's own text
FIELDS_MOST = 40  # so that each text of a client has its share of a line


@dataclass(frozen=True, slots=True)
class LogField:
    """A field of the access log. ``atom``: its name in gunicorn's formats. ``key``: JSON and logfmt have it."""

    name: str
    atom: str
    key: bool
    doc: str


FIELDS = (
    LogField("time", "t", True, "when the request ended: `[23/Nov/2026:14:00:00 +0000]`, or in JSON and logfmt "
             "`2026-11-23T14:00:00.123+0000`"),
    LogField("pid", "p", True, "the process; `%(p)s` is `<4711>`, as in gunicorn"),
    LogField("remote", "h", True, "the client's address, without its port: that of the peer, or what a trusted proxy "
             "says (docs/proxies.md). IPv4 in IPv6 is written as IPv4. A client on a unix socket has none"),
    LogField("remote_port", "", True, "the client's port, if it is known"),
    LogField("request", "r", True, "the request line as it was sent, or as much of it as was received"),
    LogField("method", "m", False, "the method"),
    LogField("target", "", False, "the target of the request line, as it was sent"),
    LogField("path", "U", True, "the path of the target, as it was sent: not decoded"),
    LogField("query", "q", False, "what follows the first `?` of the target"),
    LogField("version", "H", False, "the version of the request line, as in `HTTP/1.1`"),
    LogField("host", "", True, "the field Host"),
    LogField("status", "s", True, "the status of the response; missing if none was begun"),
    LogField("bytes", "B", True, "bytes of the response's body that were sent, without its head"),
    LogField("bytes_or_none", "b", False, "the same, but missing instead of 0"),
    LogField("outcome", "", True, "how the request ended: `ok`, `shed` (there was no room), `expired` (it waited too "
             "long for a worker), `timed_out` (the application took longer than request_timeout), `disconnected`, "
             "`refused` or `error`"),
    LogField("failure", "", False, "the same, but missing instead of `ok`"),
    LogField("reason", "", True, "why it did not end well, in words"),
    LogField("accepted_s", "", False, "seconds from the connection's acceptance to the request's first byte"),
    LogField("head_s", "", False, "seconds from its first byte to the end of its head"),
    LogField("body_s", "", False, "seconds from the end of its head to the end of its body"),
    LogField("receive_s", "", True, "seconds from its first byte to the end of the request"),
    LogField("queue_s", "", True, "seconds that the request waited for a worker"),
    LogField("app_s", "", True, "seconds from the beginning of its turn to the first byte of the response"),
    LogField("send_s", "", True, "seconds from the first to the last byte of the response"),
    LogField("total_s", "L", True, "seconds from the request's first byte to the end of its response"),
    LogField("total_whole_s", "T", False, "the same in whole seconds"),
    LogField("total_ms", "M", False, "the same in whole milliseconds"),
    LogField("total_us", "D", False, "the same in microseconds"),
    LogField("request_id", "", True, "the id of the request, as its application, the server's log and error pages have "
             "it (docs/requests.md)"),
    LogField("trace_id", "", True, "the trace that the request belongs to, if its field traceparent is valid (W3C "
             "Trace Context), from any peer"),
    LogField("referer", "f", True, "the field Referer"),
    LogField("agent", "a", True, "the field User-Agent"),
    LogField("user", "u", False, "the user name of Basic credentials, which the server does not check"),
    LogField("ident", "l", False, "always missing"),
)  # fmt: skip
BY_FIELD = {one.name: one for one in FIELDS}
ATOMS = {one.atom: one.name for one in FIELDS if one.atom}

# Fields of a request or a response, by name: %({NAME}i)s and %({NAME}o)s.
REQUEST_FIELD, RESPONSE_FIELD = "request_field", "response_field"
# Names in WSGI's environ that the server knows itself, in lower case, for %({NAME}e)s.
ENVIRON = {
    "request_method": "method",
    "raw_uri": "target",
    "request_uri": "target",
    "path_info": "path",
    "query_string": "query",
    "server_protocol": "version",
    "remote_addr": "remote",
    "remote_port": "remote_port",
    "remote_user": "user",
    "halfsync.request_id": "request_id",
}
ENVIRON_FIELDS = ("content_type", "content_length")

COMBINED = '%(h)s - - %(t)s "%(r)s" %(s)s %(B)s "%(f)s" "%(a)s" %(queue_s)s %(total_s)s'
NAMED = ("combined", "json", "logfmt")

# How the value of a piece is written.
PLAIN = "plain"  # escaped as \xHH; "-" if it is missing
WITHIN = "within"  # inside a text of JSON: escaped as \u00HH; "-" if it is missing
VALUE = "value"  # a value of JSON: a number, a text with its quotes, or null
PAIR = "pair"  # as VALUE, without the quotes that logfmt does not need; if it is missing, so is the text before it

_ATOM = re.compile(r"%(?:%|\((?P<name>[^()]*)\)(?P<kind>.)?)?", re.DOTALL)
_NAME = re.compile(r"\{(?P<field>[^{}]+)\}(?P<kind>[ioe])")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PAGE = "docs/access-log.md has the fields"


@dataclass(frozen=True, slots=True)
class LogPiece:
    """A piece of a format: text, and then a value.

    ``field``: a name in `FIELDS`, REQUEST_FIELD or RESPONSE_FIELD; "": there is only the text. ``name``: of a field of
    the request or response, in lower case. ``escapes``: characters that PLAIN escapes, beside `"`, `\\` and all but
    printable ASCII, since they would end the value for a reader of the line.
    """

    text: str
    field: str = ""
    name: str = ""
    style: str = PLAIN
    escapes: str = ""


def check_format(text: str) -> None:
    """Reject a format that is wrong, before the application is loaded. Raises UsageError, without an origin."""
    pieces = read_format(text)
    if text not in NAMED and _is_json(text):
        _refuse_wrong_json(pieces, text)


def _is_json(text: str) -> bool:
    return text.lstrip().startswith("{")


def read_format(text: str) -> tuple[LogPiece, ...]:
    """Return the pieces of a format, by its name or written out. Raises UsageError as `check_format`, but for JSON."""
    if text == "json":
        return _structured('{{"{}": ', ', "{}": ', "}", VALUE)
    if text == "logfmt":
        return _structured("{}=", " {}=", "", PAIR)
    if text == "combined":
        failed = (LogPiece(" ", "failure", style=PAIR), LogPiece(" ", "reason", style=PAIR))
        return (*_read(COMBINED)[:-1], *failed)
    return _read(text)


def _structured(first: str, other: str, end: str, style: str) -> tuple[LogPiece, ...]:
    """Return the pieces of a format with all keys."""
    keys = [one.name for one in FIELDS if one.key]
    pieces = [
        _resolved(LogPiece((other if number else first).format(key), key, style=style))
        for number, key in enumerate(keys)
    ]
    return (*pieces, LogPiece(end))


def _read(text: str) -> tuple[LogPiece, ...]:
    """Return the pieces of a format that is written out."""
    _refuse_unwritable(text)
    is_json = _is_json(text)
    pieces: list[LogPiece] = []
    before, quoted = "", False
    for literal, name in _split(text):
        quoted = _ends_quoted(literal, quoted=quoted, is_json=is_json)
        before += literal
        if name is None:
            pieces.append(LogPiece(before))
        elif name:
            style = (WITHIN if quoted else VALUE) if is_json else PLAIN
            known = _piece(name, style)
            bracketed = name == "p" and style != VALUE
            pieces.append(replace(known, text=before + "<" * bracketed, escapes='"' if quoted else ""))
            before = ">" * bracketed
    if len(pieces) - 1 > FIELDS_MOST:
        raise UsageError(f"the format has {len(pieces) - 1} fields", remedy=f"use at most {FIELDS_MOST}")
    if len(pieces) == 1:
        raise UsageError(
            f"{text!r} is neither {', '.join(NAMED[:-1])} nor {NAMED[-1]}, and names no field",
            remedy="write a field like %(remote)s or %({x-request-id}i)s; " + _PAGE,
        )
    return tuple(pieces) if is_json else _with_delimiters(pieces)


def _split(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield each literal with the name of the atom behind it; "" behind a percent sign, None behind the last one."""
    at = 0
    for found in _ATOM.finditer(text):
        literal, at = text[at : found.start()], found.end()
        if found[0] == "%%":
            yield f"{literal}%", ""
            continue
        if found["name"] is None:
            raise UsageError(
                f"a % in the format begins no field: {text[found.start() : found.start() + 20]!r}",
                remedy="write %% for a percent sign, and a field like %(status)s",
            )
        if found["kind"] != "s":
            raise UsageError(
                f"%({found['name']}){found['kind'] or ''} does not end with an s",
                remedy=f"write %({found['name']})s",
            )
        yield literal, found["name"]
    yield text[at:], None


def _refuse_unwritable(text: str) -> None:
    size = len(text.encode("utf-8", "replace"))
    if size > FORMAT_MOST:
        raise UsageError(f"the format has {size} bytes", remedy=f"use at most {FORMAT_MOST}")
    wrong = next(
        (c for c in text if (c < " " and c != "\t") or c == "\x7f" or "\ud800" <= c <= "\udfff"), None
    )
    if wrong is not None:
        raise UsageError(f"the format has the character {wrong!r}", remedy="a line is one line: leave it out")


def _ends_quoted(literal: str, *, quoted: bool, is_json: bool) -> bool:
    """Return whether what follows a literal is inside double quotes. quoted: whether its beginning is."""
    if is_json:
        literal = re.sub(r"\\.", "", literal)
    return quoted != (literal.count('"') % 2 == 1)


def _piece(name: str, style: str) -> LogPiece:
    """Return the piece for the name of an atom. Raises UsageError for an unknown one."""
    found = _NAME.fullmatch(name)
    if found is None:
        known = ATOMS.get(name, name)
        if known not in BY_FIELD:
            close = near(name, BY_FIELD)
            hint = f"did you mean %({close})s? " if close else ""
            raise UsageError(f"the access log has no field %({name})s", remedy=hint + _PAGE)
        return _resolved(LogPiece("", known, style=style))
    field = found["field"].lower()
    if found["kind"] == "e":
        return _from_environ(field, style)
    if not _TOKEN.fullmatch(field):
        raise UsageError(f"no field of a message can have the name {found['field']!r}", remedy=_PAGE)
    return LogPiece("", REQUEST_FIELD if found["kind"] == "i" else RESPONSE_FIELD, field, style)


def _from_environ(name: str, style: str) -> LogPiece:
    """Return the piece for a variable of WSGI's environ, if the server knows it without Python."""
    if name in ENVIRON:
        return LogPiece("", ENVIRON[name], style=style)
    if name in ENVIRON_FIELDS or (name.startswith("http_") and name != "http_"):
        return LogPiece("", REQUEST_FIELD, name.removeprefix("http_").replace("_", "-"), style)
    raise UsageError(
        f"%({{{name}}}e)s cannot be logged: the log is written without Python, and so without the environ",
        remedy="let the application set a response field and log that, as in %({x-user}o)s; " + _PAGE,
    )


def _resolved(piece: LogPiece) -> LogPiece:
    """Return a piece with the field of the request that it stands for, if its value is just one of these."""
    name = {"referer": "referer", "agent": "user-agent", "host": "host"}.get(piece.field)
    return piece if name is None else replace(piece, field=REQUEST_FIELD, name=name)


def _with_delimiters(pieces: list[LogPiece]) -> tuple[LogPiece, ...]:
    """Return the pieces, with what each value must not contain: outside quotes, all that stands beside a value.

    A client's text then cannot end its own field, and begin another one.
    """
    beside = {" "}
    for piece, following in pairwise(pieces):
        if not piece.escapes:
            beside |= {c for c in (piece.text[-1:], following.text[:1]) if c.isascii() and not c.isalnum()}
    beside.discard("")
    outside = "".join(sorted(beside))
    return tuple(
        piece if piece.escapes or not piece.field else replace(piece, escapes=outside) for piece in pieces
    )


def _refuse_wrong_json(pieces: tuple[LogPiece, ...], text: str) -> None:
    """Reject a format in braces whose lines would not be JSON."""
    with genuine():
        import json  # noqa: PLC0415 - only such a format needs it

    try:
        for sample in ({VALUE: "0", WITHIN: "x"}, {VALUE: "null", WITHIN: "-"}):
            json.loads("".join(piece.text + (sample[piece.style] if piece.field else "") for piece in pieces))
    except ValueError as error:
        raise UsageError(
            f"the format begins with a brace, and its lines would not be JSON: {error}: {text!r}",
            remedy='write it like {"from": %(remote)s, "agent": %(agent)s}, where each value gets its quotes',
        ) from None
