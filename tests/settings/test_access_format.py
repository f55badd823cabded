"""Formats of the access log: what is read from them, and what is refused with a reason."""

import json

import pytest

from halfsync.errors import UsageError
from halfsync.settings import Settings
from halfsync.settings.access_format import (
    ATOMS,
    BY_FIELD,
    FIELDS,
    FIELDS_MOST,
    FORMAT_MOST,
    REQUEST_FIELD,
    RESPONSE_FIELD,
    VALUE,
    WITHIN,
    read_format,
)
from halfsync.settings.log_kinds import find_syslog

GUNICORN = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'  # its default
ITS_ATOMS = list("hlutrmUqHsBbfaTDMLp")


def fields_of(text: str) -> list[str]:
    return [piece.name or piece.field for piece in read_format(text) if piece.field]


def escapes_of(text: str) -> list[str]:
    return [piece.escapes for piece in read_format(text) if piece.field]


def rendered(text: str, number: str = "7", words: str = "x") -> str:
    """Return a line of a format in JSON, with these for all values."""
    values = {VALUE: number, WITHIN: words}
    return "".join(piece.text + (values[piece.style] if piece.field else "") for piece in read_format(text))


def test_every_field_of_gunicorn_is_there() -> None:
    assert sorted(ATOMS) == sorted(ITS_ATOMS)
    for atom in ITS_ATOMS:
        (field,) = [piece.field for piece in read_format(f"%({atom})s") if piece.field]
        assert field == REQUEST_FIELD or field in BY_FIELD


def test_the_format_that_gunicorn_has_by_default() -> None:
    assert fields_of(GUNICORN) == [
        "remote", "ident", "user", "time", "request", "status", "bytes_or_none", "referer", "user-agent",
    ]  # fmt: skip
    assert [piece.text for piece in read_format(GUNICORN)] == [
        "",
        " ",
        " ",
        " ",
        ' "',
        '" ',
        " ",
        ' "',
        '" "',
        '"',
    ]


def test_the_process_has_the_brackets_of_gunicorn() -> None:
    assert [piece.text for piece in read_format("a%(p)sb")] == ["a<", ">b"]
    assert [piece.text for piece in read_format("a%(pid)sb")] == ["a", "b"]
    assert rendered('{"p": %(p)s, "q": "%(p)s"}') == '{"p": 7, "q": "<x>"}'


@pytest.mark.parametrize("name", ["combined", "json", "logfmt", " JSON "])
def test_formats_with_a_name(name: str) -> None:
    settings = Settings.from_options(log_format=name)
    assert settings.log_format == name.strip().lower()
    assert len(read_format(settings.log_format)) > 5


def test_json_and_logfmt_have_all_keys() -> None:
    keys = [one.name for one in FIELDS if one.key]
    assert list(json.loads(rendered("json"))) == keys
    assert [piece.text.strip(" =") for piece in read_format("logfmt") if piece.field] == keys


@pytest.mark.parametrize(
    ("atom", "field", "name"),
    [
        ("{X-Request-ID}i", REQUEST_FIELD, "x-request-id"),
        ("{x-user}o", RESPONSE_FIELD, "x-user"),
        ("{REMOTE_ADDR}e", "remote", ""),
        ("{path_info}e", "path", ""),
        ("{HTTP_X_A_B}e", REQUEST_FIELD, "x-a-b"),
        ("{content_type}e", REQUEST_FIELD, "content-type"),
        ("agent", REQUEST_FIELD, "user-agent"),
    ],
)
def test_fields_by_name(atom: str, field: str, name: str) -> None:
    (piece,) = [piece for piece in read_format(f"%({atom})s") if piece.field]
    assert (piece.field, piece.name) == (field, name)


def test_a_percent_sign_is_written_twice() -> None:
    assert [piece.text for piece in read_format("%%(h)s 5%% %(h)s%%")] == ["%(h)s 5% ", "%"]


def test_values_escape_what_would_end_them() -> None:
    assert escapes_of('%(h)s "%(r)s" %(U)s') == [" ", '"', " "]
    assert escapes_of("%(h)s|%(U)s") == [" |", " |"]
    assert escapes_of("method=%(m)s path=%(U)s") == [" =", " ="]
    assert escapes_of("[%(U)s] '%(a)s'") == [" '[]", " '[]"]
    assert escapes_of("%(h)s\t%(U)s") == ["\t ", "\t "]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("%(x)s", "has no field %(x)s"),
        ("%(statuss)s", "did you mean %(status)s?"),
        ("%h %u", "a % in the format begins no field: '%h %u'"),
        ("%(h)s 100%", "a % in the format begins no field: '%'"),
        ("%(h", "begins no field"),
        ("%(h)d", "%(h)d does not end with an s"),
        ("%(h)", "%(h) does not end with an s"),
        ("$remote_addr", "names no field"),
        ("", "names no field"),
        ("common", "neither combined, json nor logfmt"),
        ("%(h)s\n%(s)s", "has the character '\\n'"),
        ("%(h)s\x1b", "has the character '\\x1b'"),
        ("%({a b}i)s", "can have the name 'a b'"),
        ("%({wsgi.url_scheme}e)s", "%({wsgi.url_scheme}e)s cannot be logged"),
        ("%({HOME}e)s", "cannot be logged: the log is written without Python"),
        ("%({http_}e)s", "cannot be logged"),
        ("x" * FORMAT_MOST + "%(h)s", f"the format has {FORMAT_MOST + 5} bytes; use at most {FORMAT_MOST}"),
        ("%(h)s" * (FIELDS_MOST + 1), f"the format has {FIELDS_MOST + 1} fields; use at most {FIELDS_MOST}"),
        ('{"a": %(s)s', "would not be JSON"),
        ('{"a": %(s)s%(B)s}', "would not be JSON"),
        ('{"a": 1%(s)s}', "would not be JSON"),
        ("{%(r)s: 1}", "would not be JSON"),
    ],
)
def test_a_wrong_format_is_refused_with_origin_and_remedy(text: str, told: str) -> None:
    with pytest.raises(UsageError) as refused:
        Settings.from_options(log_format=text)
    assert refused.value.origin == "log_format"
    assert told in str(refused.value)
    assert refused.value.remedy


@pytest.mark.parametrize("raw", [3, None, b"json", ["json"]])
def test_a_format_is_text(raw: object) -> None:
    with pytest.raises(UsageError, match="is not combined, json, logfmt, or a format"):
        Settings.from_options(log_format=raw)


def test_a_format_in_braces_is_json() -> None:
    text = '{"status": %(s)s, "what": "%(m)s \\"%(U)s\\"", "agent": %(a)s}'
    styles = [piece.style for piece in read_format(text) if piece.field]
    assert styles == [VALUE, WITHIN, WITHIN, VALUE]
    assert json.loads(rendered(text, "null")) == {"status": None, "what": 'x "x"', "agent": None}


@pytest.mark.parametrize(
    ("target", "path", "host", "port"),
    [
        ("syslog:", "/dev/log", "", 514),
        ("syslog:/run/log", "/run/log", "", 514),
        ("syslog:logs.example", "", "logs.example", 514),
        ("syslog:127.0.0.1:5140", "", "127.0.0.1", 5140),
        ("syslog:[::1]", "", "::1", 514),
        ("syslog:[::1]:5140", "", "::1", 5140),
    ],
)
def test_what_names_a_syslog(target: str, path: str, host: str, port: int) -> None:
    assert Settings.from_options(access_log=target).access_log == target
    syslog = find_syslog(target)
    assert syslog
    assert (syslog.path, syslog.host, syslog.port) == (path, host, port)


@pytest.mark.parametrize("target", ["-", "access.log", "./syslog:", "/syslog:a"])
def test_what_names_no_syslog(target: str) -> None:
    assert Settings.from_options(access_log=target).access_log == target
    assert find_syslog(target) is None


@pytest.mark.parametrize(
    "target",
    [
        "syslog:h:0", "syslog:h:65536", "syslog:h:x", "syslog::514", "syslog:::1", "syslog:[::1", "syslog:[]",
        "syslog:a b", "syslog:[::1]514",
    ],
)  # fmt: skip
def test_a_wrong_syslog_is_refused(target: str) -> None:
    with pytest.raises(UsageError, match=r"access_log: .* names no syslog; write syslog: for /dev/log"):
        Settings.from_options(access_log=target)
