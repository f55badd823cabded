"""Each kind of list: what it reads, how it writes it back, and what it refuses."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfsync.errors import UsageError
from halfsync.settings.kinds import Kind
from halfsync.settings.lists import Addresses, Binds, Directories, Mounts, Variables


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (Binds(), ":80,unix:/x", (":80", "unix:/x")),
        (Binds(), [":80", "unix:/x"], (":80", "unix:/x")),
        (Mounts(), "/s=x", (("/s", "x"),)),
        (Mounts(), "/s/=./x=y, / = z", (("/s", "./x=y"), ("", "z"))),
        (Mounts(), ["/s=x,y", "/t=z"], (("/s", "x,y"), ("/t", "z"))),
        (Mounts(), {"/s": Path("/x"), "/.well-known": "w"}, (("/s", "/x"), ("/.well-known", "w"))),
        (Mounts(), (("/s", "x"),), (("/s", "x"),)),
        (Mounts(), [], ()),
        (Mounts(), "none", ()),
        (Mounts(), ("none",), ()),
        (Addresses(), "10.0.0.0/8, 192.0.2.1", ("10.0.0.0/8", "192.0.2.1")),
        (Addresses(), ["::1", "2001:DB8:0::/32", "unix"], ("::1", "2001:db8::/32", "unix")),
        (Addresses(), "127.0.0.1/32,127.0.0.1,::1/128", ("127.0.0.1", "::1")),
        (Addresses(), "10.0.0.0/255.0.0.0", ("10.0.0.0/8",)),
        (Addresses(), "::ffff:192.0.2.1,::ffff:10.0.0.0/104", ("192.0.2.1", "10.0.0.0/8")),
        (Addresses(), "*", ("*",)),
        (Addresses(), "none", ()),
        (Addresses(), "", ()),
        (Addresses(), [], ()),
    ],
)
def test_reads(kind: Kind[Any], raw: object, value: object) -> None:
    assert kind.convert(raw) == value


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (Binds(), []),
        (Binds(), 80),
        (Binds(), [80]),
        (Binds(), ":80,"),
        (Binds(), [":80", ":80"]),
        (Mounts(), ""),
        (Mounts(), "/s"),
        (Mounts(), "s=x"),
        (Mounts(), "/s="),
        (Mounts(), "/s= "),
        (Mounts(), "/s=x,"),
        (Mounts(), "/s=x\0"),
        (Mounts(), "/s=x,/s/=y"),
        (Mounts(), "//=x"),
        (Mounts(), "/s//t=x"),
        (Mounts(), "/s/../t=x"),
        (Mounts(), "/./s=x"),
        (Mounts(), "/s%20=x"),
        (Mounts(), "/s?=x"),
        (Mounts(), "/s t=x"),
        (Mounts(), "/s\\t=x"),
        (Mounts(), "/" + "s" * 2000 + "=x"),
        (Mounts(), 7),
        (Mounts(), [7]),
        (Mounts(), [("/s", 7)]),
        (Mounts(), {7: "x"}),
        (Addresses(), None),
        (Addresses(), 1),
        (Addresses(), [1]),
        (Addresses(), "localhost"),
        (Addresses(), "10.0.0.1/8"),
        (Addresses(), "10.0.0.0/33"),
        (Addresses(), "2001:db8::1/32"),
        (Addresses(), "fe80::1%eth0"),
        (Addresses(), "10.0.0"),
        (Addresses(), "127.0.0.1,"),
        (Addresses(), "none,127.0.0.1"),
        (Addresses(), "[::1]"),
        (Addresses(), "x" * 5000),
    ],
)
def test_refuses(kind: Kind[Any], raw: object) -> None:
    with pytest.raises(UsageError) as caught:
        kind.convert(raw)
    assert len(str(caught.value)) < 300


def test_a_network_with_bits_behind_its_length_is_corrected() -> None:
    with pytest.raises(UsageError, match=r"has bits set behind its /8; write it as 10\.0\.0\.0/8"):
        Addresses().convert("10.0.0.1/8")


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Binds(), (":80", ":81"), ":80,:81"),
        (Mounts(), (("/s", "x"), ("", "y")), "/s=x,/=y"),
        (Mounts(), (), "none"),
        (Addresses(), ("10.0.0.0/8", "::1", "unix"), "10.0.0.0/8,::1,unix"),
        (Addresses(), (), "none"),
    ],
)
def test_writes(kind: Kind[Any], value: object, text: str) -> None:
    assert kind.show(value) == text


@given(st.text(max_size=12))
def test_no_text_makes_anything_but_a_value_or_a_usage_error(text: str) -> None:
    for kind in (Binds(), Addresses(), Mounts()):
        with contextlib.suppress(UsageError):
            kind.convert(text)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("a,b", ("a", "b")),
        (["a", "a", " b "], ("a", "b")),
        ("none", ()),
        ("", ()),
        (Path("a"), ("a",)),
        ([Path("a")], ("a",)),
    ],
)
def test_directories(raw: object, value: tuple[str, ...]) -> None:
    assert Directories().convert(raw) == value
    assert Directories().convert(Directories().show(value)) == value


@pytest.mark.parametrize("raw", [["a", " "], ["\0"], 7, [7], None])
def test_no_directories(raw: object) -> None:
    with pytest.raises(UsageError):
        Directories().convert(raw)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("A=1", (("A", "1"),)),
        ("A=1,2,B=x=y", (("A", "1,2"), ("B", "x=y"))),
        (["A=1,B=2"], (("A", "1,B=2"),)),
        ({"A": "1", "B": 2}, (("A", "1"), ("B", "2"))),
        (["none"], ()),
        ({}, ()),
    ],
)
def test_variables(raw: object, value: tuple[tuple[str, str], ...]) -> None:
    assert Variables().convert(raw) == value


def test_values_of_variables_are_not_told() -> None:
    assert Variables().tell((("PASSWORD", "secret"), ("B", ""))) == "PASSWORD=...,B=..."
    assert Variables().tell(()) == "none"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("A", "'A' is not NAME=VALUE"),
        (["A=1", "A=2"], "A is given twice"),
        ({"A": True}, "is not NAME=VALUE"),
        ({"1A": "x"}, "is not a name of a variable"),
        ("HALFSYNC_MAX_BODY=1", "HALFSYNC_MAX_BODY is a setting of the server; set max_body itself"),
        ("PYTHONPATH=x", "set pythonpath"),
        (["A=\0"], "is not NAME=VALUE"),
    ],
)
def test_no_variables(raw: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        Variables().convert(raw)
    assert said in str(caught.value)
