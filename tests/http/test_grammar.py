"""The rules that parsers and writers share, against regular expressions and Python's own numbers."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from halfsync.testing import rules

# RFC 9110 5.6.2 and 5.5, written down once more.
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
METHODS = [b"GET", b"HEAD", b"HELP", b"HEAP", b"head", b"HEA", b"HEADS", b"get", b"GOT", b""]


@given(st.binary(max_size=40))
@example(b"")
@example(b"Content-Type")
@example(b"Content Type")
def test_tokens(text: bytes) -> None:
    assert rules.is_token(text) == (TOKEN.fullmatch(text) is not None)


@given(st.binary(max_size=40))
@example(b"text/html; charset=\xfctf-8")
@example(b"eight by\tes and a bad one\x7f")
@example(b"\x00" + b"a" * 20)
@example(b"a" * 20 + b"\n")
def test_field_values(text: bytes) -> None:
    assert rules.is_field_value(text) == (FIELD_VALUE.fullmatch(text) is not None)


def test_every_byte_as_a_token_and_as_a_value_at_each_place() -> None:
    for byte in range(256):
        one = bytes([byte])
        for before, behind in ((0, 0), (3, 9), (11, 2)):
            text = b"a" * before + one + b"b" * behind
            assert rules.is_token(text) == (TOKEN.fullmatch(one) is not None)
            assert rules.is_field_value(text) == (FIELD_VALUE.fullmatch(one) is not None)


@given(st.from_regex(r"[A-Za-z-]{1,20}", fullmatch=True), st.data())
def test_names_are_compared_without_their_case(name: str, data: st.DataObject) -> None:
    mixed = "".join(data.draw(st.sampled_from((c.lower(), c.upper()))) for c in name)
    lower = name.lower().encode()
    assert rules.name_is(mixed.encode(), lower)
    assert not rules.name_is(mixed.encode() + b"s", lower)
    assert not rules.name_is(mixed.encode()[:-1], lower)
    assert not rules.name_is(b"_" + mixed.encode()[1:], lower)


def test_only_letters_have_a_case() -> None:
    assert not rules.name_is(b"@[", b"`{")
    assert not rules.name_is(b"\xc0", b"\xe0")


@pytest.mark.parametrize("wanted", [b"GET", b"HEAD"])
@pytest.mark.parametrize("method", METHODS)
def test_methods_are_compared_in_full_and_with_their_case(method: bytes, wanted: bytes) -> None:
    assert rules.method_is(method, wanted) == (method == wanted)


@given(st.integers(0, 10**18 - 1), st.integers(0, 3))
def test_numbers_are_read(number: int, zeros: int) -> None:
    text = b"0" * zeros + str(number).encode()
    assert rules.number_of(text) == (number if len(text) <= 18 else None)


@pytest.mark.parametrize(
    "text", [b"", b" 1", b"1 ", b"+1", b"-1", b"1,1", b"0x1", b"1_0", b"\xb2", b"1e3", b"9" * 19, b"0" * 19]
)
def test_what_is_no_number(text: bytes) -> None:
    assert rules.number_of(text) is None


@pytest.mark.parametrize(
    ("text", "port"),
    [(b"0", 0), (b"80", 80), (b"65535", 65535), (b"65536", None), (b"00080", 80), (b"000080", None)]
    + [(text, None) for text in (b"", b"-1", b"8O")],
)
def test_ports(text: bytes, port: int | None) -> None:
    assert rules.port_of(text) == port


@given(st.integers(0, 2**64 - 1))
@example(0)
@example(9)
@example(10)
@example(2**64 - 1)
def test_numbers_are_written(number: int) -> None:
    assert rules.decimal(number) == str(number).encode()
    assert rules.hexadecimal(number) == b"%x" % number


def test_two_hexadecimal_digits() -> None:
    digits = b"0123456789abcdefABCDEF"
    for high in range(256):
        for low in (*digits, ord("g"), ord("/"), ord(":"), ord("@"), ord("`"), 0, 255):
            text = bytes([high, low])
            good = high in digits and low in digits
            assert rules.hex_byte(text) == (int(text, 16) if good else None)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (b"", 0),
        (b" , ,\t,", 0),
        (b"close", 1),
        (b"Keep-Alive", 2),
        (b"\tUPGRADE ", 4),
        (b"close, keep-alive ,upgrade", 7),
        (b"closed", 8),
        (b"close keep-alive", 8),
        (b"x-trace,close", 9),
    ],
)
def test_options_of_a_connection_field(text: bytes, options: int) -> None:
    assert rules.connection_options(text) == options


@pytest.mark.parametrize("port", ["", ":", ":0", ":65535", ":00080"])
@pytest.mark.parametrize("host", ["a", "a.b-c", "127.0.0.1", "[::1]", "%41"])
def test_authorities(host: str, port: str) -> None:
    assert rules.authority_is_valid(f"{host}{port}".encode())


@pytest.mark.parametrize(
    "text", ["", ":80", "a:65536", "a:000080", "a:8O", "a:80:", "[::1", "[:]", "a b", "%4", "u@a"]
)
def test_what_is_no_authority(text: str) -> None:
    assert not rules.authority_is_valid(text.encode())
