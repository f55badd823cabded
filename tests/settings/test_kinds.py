"""Each kind of single value: what it reads, how it writes it back, and what it refuses."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfsync.errors import UsageError
from halfsync.settings.kinds import (
    AUTO,
    Choice,
    Count,
    Duration,
    FieldName,
    FileOwner,
    Flag,
    Function,
    Kind,
    Mode,
    Optional,
    Principal,
    RootPath,
    Size,
    Text,
)

COUNT = Count(1, 1000)
SIZED = Count(1, 9, auto=True)
DURATION = Duration(zero=True)
SIZE = Size(0, 2**60)


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (COUNT, "7", 7),
        (COUNT, " 7 ", 7),
        (COUNT, 1000, 1000),
        (SIZED, "auto", AUTO),
        (SIZED, " AUTO ", AUTO),
        (SIZED, "9", 9),
        (Optional(SIZED), None, None),
        (Optional(SIZED), 9, 9),
        (Principal("USER"), "www-data", "www-data"),
        (Principal("USER"), 33, "33"),
        (Principal("USER"), " 33 ", "33"),
        (FieldName(), " X-Request-Id ", "X-Request-Id"),
        (FieldName(), "x" * 64, "x" * 64),
        (FieldName(), "none", None),
        (FieldName(), " None", None),
        (FieldName(), None, None),
        (Function(), "a.b:c.d", "a.b:c.d"),
        (Function(), " a:b ", "a:b"),
        (Function(), "a-b/c.conf.py:d.e", "a-b/c.conf.py:d.e"),
        (DURATION, "500ms", 0.5),
        (DURATION, "30s", 30.0),
        (DURATION, "2m", 120.0),
        (DURATION, "1h", 3600.0),
        (DURATION, "1.5s", 1.5),
        (DURATION, "30", 30.0),
        (DURATION, "2 M", 120.0),
        (DURATION, "24h", 86400.0),
        (DURATION, 75, 75.0),
        (DURATION, 0.25, 0.25),
        (DURATION, "0", 0.0),
        (SIZE, "64k", 65536),
        (SIZE, "1M", 1048576),
        (SIZE, "1g", 1073741824),
        (SIZE, "10", 10),
        (SIZE, 10, 10),
        (Choice("info", "debug"), "INFO", "info"),
        (Flag(), True, True),
        (Flag(), "yes", True),
        (Flag(), "Off", False),
        (Flag(), "0", False),
        (Text("DIR"), "/tmp", "/tmp"),
        (Text("DIR"), Path("/tmp"), "/tmp"),
        (Text("DIR"), None, None),
        (Duration(longest_s=8760 * 3600), "8760h", 31_536_000.0),
        (Duration(longest_s=8760 * 3600), 31_536_000, 31_536_000.0),
        (RootPath(), "/shop", "/shop"),
        (RootPath(), " /a/b/ ", "/a/b"),
        (RootPath(), "/", ""),
        (RootPath(), "", ""),
        (RootPath(), "/café", "/café"),
        (Mode(), "0660", 0o660),
        (Mode(), "660", 0o660),
        (Mode(), " 0o600 ", 0o600),
        (Mode(), "0", 0),
        (Mode(), 0o777, 0o777),
        (FileOwner(), "www-data", "www-data"),
        (FileOwner(), " www-data:web ", "www-data:web"),
        (FileOwner(), ":web", ":web"),
        (FileOwner(), "33:33", "33:33"),
        (FileOwner(), None, None),
    ],
)
def test_reads(kind: Kind[Any], raw: object, value: object) -> None:
    converted = kind.convert(raw)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (COUNT, "0"),
        (COUNT, 1001),
        (COUNT, "-1"),
        (COUNT, "1.0"),
        (COUNT, 1.0),
        (COUNT, True),
        (COUNT, ""),
        (COUNT, "٣"),
        (COUNT, "1_0"),
        (COUNT, "9" * 5000),
        (COUNT, None),
        (COUNT, "auto"),
        (SIZED, AUTO),
        (SIZED, "0"),
        (SIZED, "automatic"),
        (Optional(SIZED), "none"),
        (Principal("USER"), ""),
        (Principal("USER"), "a b"),
        (Principal("USER"), "a:b"),
        (Principal("USER"), "a\0"),
        (Principal("USER"), -1),
        (Principal("USER"), True),
        (Principal("USER"), None),
        (FieldName(), ""),
        (FieldName(), "-"),
        (FieldName(), "x" * 65),
        (FieldName(), "X_Request_Id"),
        (FieldName(), "X-Request-Id:"),
        (FieldName(), "X Request"),
        (FieldName(), "X-\u00c4"),
        (FieldName(), "Content-Length"),
        (FieldName(), "HOST"),
        (FieldName(), 7),
        (Function(), "a"),
        (Function(), "a:"),
        (Function(), ":b"),
        (Function(), "a:b()"),
        (Function(), "a/b:c"),
        (Function(), "a/b.py:"),
        (Function(), "a/b.py:c()"),
        (Function(), "a:b:c"),
        (Function(), None),
        (Duration(), 0),
        (Duration(), "0ms"),
        (DURATION, "nan"),
        (DURATION, "inf"),
        (DURATION, float("nan")),
        (DURATION, float("inf")),
        (DURATION, 10**400),
        (DURATION, "1e3"),
        (DURATION, "-1s"),
        (DURATION, "5 parsecs"),
        (DURATION, "s"),
        (DURATION, "."),
        (DURATION, "25h"),
        (DURATION, True),
        (DURATION, "9" * 400),
        (SIZE, "1t"),
        (SIZE, "1.5m"),
        (SIZE, "k"),
        (SIZE, 1.0),
        (SIZE, True),
        (SIZE, "2000000000g"),
        (Size(10, 100), "1k"),
        (Choice("a", "b"), "c"),
        (Choice("a", "b"), 1),
        (Flag(), "maybe"),
        (Flag(), 1),
        (Text("DIR"), ""),
        (Text("DIR"), " "),
        (Text("DIR"), "a\0b"),
        (Text("DIR"), 1),
        (RootPath(), "shop"),
        (RootPath(), "/shop?a"),
        (RootPath(), "/caf%C3%A9"),
        (RootPath(), "/a\nb"),
        (RootPath(), None),
        (Mode(), "0888"),
        (Mode(), "1777"),
        (Mode(), "rw"),
        (Mode(), ""),
        (Mode(), "-1"),
        (Mode(), 0o1000),
        (Mode(), 660),
        (Mode(), True),
        (Mode(), None),
        (FileOwner(), ""),
        (FileOwner(), ":"),
        (FileOwner(), "a:"),
        (FileOwner(), "a:b:c"),
        (FileOwner(), "a b"),
        (FileOwner(), 33),
    ],
)
def test_refuses(kind: Kind[Any], raw: object) -> None:
    with pytest.raises(UsageError) as caught:
        kind.convert(raw)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (DURATION, 0.0, "0s"),
        (DURATION, 0.5, "500ms"),
        (DURATION, 75.0, "75s"),
        (DURATION, 120.0, "2m"),
        (DURATION, 7200.0, "2h"),
        (DURATION, 1.5, "1500ms"),
        (SIZE, 0, "0"),
        (SIZE, 65535, "65535"),
        (SIZE, 65536, "64k"),
        (SIZE, 2**30, "1g"),
        (SIZED, AUTO, "auto"),
        (SIZED, 9, "9"),
        (Optional(SIZED), None, "none"),
        (Optional(SIZED), AUTO, "auto"),
        (Function(), "a:b", "a:b"),
        (Flag(), True, "true"),
        (Text("DIR"), None, "none"),
        (RootPath(), "", "/"),
        (RootPath(), "/a", "/a"),
        (Mode(), 0o660, "0660"),
        (Mode(), 0, "0000"),
        (FileOwner(), None, "none"),
        (FileOwner(), "a:b", "a:b"),
    ],
)
def test_writes(kind: Kind[Any], value: object, text: str) -> None:
    assert kind.show(value) == text


@given(st.integers(0, 2**60))
def test_a_size_reads_what_it_writes(value: int) -> None:
    assert SIZE.convert(SIZE.show(value)) == value


@given(st.integers(0, 86_400_000))
def test_a_duration_reads_what_it_writes(milliseconds: int) -> None:
    assert DURATION.convert(DURATION.show(milliseconds / 1000)) == milliseconds / 1000


@given(st.text(max_size=12))
def test_no_text_makes_anything_but_a_value_or_a_usage_error(text: str) -> None:
    kinds = (
        COUNT,
        DURATION,
        SIZE,
        Flag(),
        Choice("a"),
        Text("X"),
        RootPath(),
        Mode(),
        FileOwner(),
        SIZED,
        Principal("USER"),
        Function(),
        FieldName(),
    )
    for kind in kinds:
        with contextlib.suppress(UsageError):
            kind.convert(text)
