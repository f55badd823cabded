"""The head parser's Python interface, and its tables of bytes against the RFCs' grammar."""

import pickle
import string

import pytest

from halfsync.errors import HalfsyncError, ProtocolError
from halfsync.http.parser import HeadParser, RequestHead

DIGITS_AND_LETTERS = (string.digits + string.ascii_letters).encode()
# RFC 9110 5.6.2
TOKEN = set(b"!#$%&'*+-.^_`|~" + DIGITS_AND_LETTERS)
# RFC 9110 5.5: field-vchar, obs-text, and SP and HTAB between them
VALUE = {0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}
# Visible ASCII; "#" begins a fragment, which is not sent (RFC 9110 4.2.5).
TARGET = set(range(0x21, 0x7F)) - {0x23}
# RFC 3986 3.2.2 reg-name without escapes: unreserved and sub-delims
HOST = set(b"-._~!$&'()*+,;=" + DIGITS_AND_LETTERS)


def read(wire: bytes) -> RequestHead:
    head = HeadParser().feed(wire)
    assert head is not None
    return head


def status_of(wire: bytes) -> int | None:
    """The status of the refusal; None if the head is accepted."""
    try:
        read(wire)
    except ProtocolError as error:
        return error.status
    return None


def test_a_whole_head() -> None:
    wire = (
        b"POST /a?b HTTP/1.1\r\nHost: example.com:80\r\nX-Y:  z \r\nContent-Length: 3\r\n"
        b"Connection: upgrade, close\r\nExpect: 100-continue\r\n\r\n"
    )
    assert read(wire) == RequestHead(
        method=b"POST",
        target=b"/a?b",
        path=b"/a",
        query=b"b",
        authority=b"example.com:80",
        version=(1, 1),
        headers=(
            (b"Host", b"example.com:80"),
            (b"X-Y", b"z"),
            (b"Content-Length", b"3"),
            (b"Connection", b"upgrade, close"),
            (b"Expect", b"100-continue"),
        ),
        content_length=3,
        chunked=False,
        keep_alive=False,
        expect_continue=True,
        upgrade=True,
    )


def test_what_comes_after_the_head_is_left_over() -> None:
    parser = HeadParser()
    assert parser.feed(b"GET / HTTP/1.0\r\n") is None
    assert parser.leftover == b""
    assert parser.feed(b"\r\nabc\r\n") is not None
    assert parser.leftover == b"abc\r\n"


def test_nothing_may_be_fed_after_the_head() -> None:
    parser = HeadParser()
    assert parser.feed(b"GET / HTTP/1.0\r\n\r\n") is not None
    with pytest.raises(ValueError, match="has read its head"):
        parser.feed(b"")
    assert parser.leftover == b""


def test_a_refusal_is_final() -> None:
    parser = HeadParser()
    for data in (b"GET /\x00 HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n\r\n", b""):
        with pytest.raises(ProtocolError) as caught:
            parser.feed(data)
        assert (caught.value.status, parser.leftover) == (400, b"")


def test_the_error_has_status_and_reason() -> None:
    with pytest.raises(ProtocolError) as caught:
        read(b"GET / HTTP/3.0\r\n")
    error = caught.value
    assert isinstance(error, HalfsyncError)
    assert (error.status, error.reason) == (505, "a version that is not HTTP/1")
    assert str(error) == "505 HTTP Version Not Supported: a version that is not HTTP/1"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("data", ["GET", None, bytearray(b"GET"), 3])
def test_only_bytes_may_be_fed(data: object) -> None:
    with pytest.raises(TypeError):
        HeadParser().feed(data)  # type: ignore[arg-type] # what is tested


@pytest.mark.parametrize(
    "wire", [b"\x16", b"GET(", b"\x00", b"\n", b"\rG", b" ", b"G\xc3", b"\r\n\r", b"GET\r", b"{"], ids=repr
)
def test_bytes_that_are_in_no_method_are_refused_at_once(wire: bytes) -> None:
    parser = HeadParser()
    for i in range(len(wire) - 1):
        assert parser.feed(wire[i : i + 1]) is None
    with pytest.raises(ProtocolError) as caught:
        parser.feed(wire[-1:])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("begin", "bad"),
    [
        (b"GET / HTTP/2.0\r", b"\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r", b"\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r", b"\n"),
        (b"GET / HTTP/1.1\r\n\r", b"\n"),
    ],
)
def test_an_error_is_reported_once_its_line_is_complete(begin: bytes, bad: bytes) -> None:
    parser = HeadParser()
    assert parser.feed(begin) is None
    with pytest.raises(ProtocolError):
        parser.feed(bad)


@pytest.mark.parametrize(
    "limits",
    [
        {"request_line": 32},
        {"request_line": 8192, "head": 8195},
        {"head": 2**31},
        {"field": 65536},
        {"fields": 101},
    ],
)
def test_limits_that_cannot_be_kept_are_errors(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"^(needed: request_line|field must be)"):
        HeadParser(**limits)


@pytest.mark.parametrize("number", [-1, 2**32])
def test_limits_that_are_not_sizes_are_errors(number: int) -> None:
    with pytest.raises(OverflowError):
        HeadParser(fields=number)


def refused_with(limits: dict[str, int], wire: bytes) -> int | None:
    """The status of the refusal, which is the same by byte; None if there is none."""
    statuses: list[int | None] = []
    for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        parser = HeadParser(**limits)
        try:
            for piece in pieces:
                parser.feed(piece)
        except ProtocolError as error:
            statuses.append(error.status)
        else:
            statuses.append(None)
    assert statuses[0] == statuses[1]
    return statuses[0]


LINE = b"GET / HTTP/1.0\r\n"


@pytest.mark.parametrize(
    ("limits", "fits", "passes", "status"),
    [
        ({"request_line": 40}, b"GET /" + b"a" * 26 + b" HTTP/1.0\r\n\r\n", b"GET /" + b"a" * 36, 414),
        ({"field": 5}, LINE + b"A:bcd\r\n\r\n", LINE + b"A:bcde", 431),
        ({"field": 65535}, LINE + b"A:" + b"b" * 65533 + b"\r\n\r\n", LINE + b"b" * 65536, 431),
        ({"fields": 1}, LINE + b"A:b\r\n\r\n", LINE + b"A:b\r\nB:c\r\n", 431),
        ({"fields": 0}, LINE + b"\r\n", LINE + b"A:b\r\n", 431),
        ({"request_line": 36, "head": 40}, LINE + b"A:" + b"b" * 18 + b"\r\n\r\n", LINE + b"b" * 25, 431),
    ],
)
def test_a_limit_reached_and_passed(limits: dict[str, int], fits: bytes, passes: bytes, status: int) -> None:
    limits = {"head": 2**20, **limits}
    assert refused_with(limits, fits) is None
    assert refused_with(limits, passes) == status
    assert refused_with(limits, passes[:-1]) is None


def test_every_byte_in_every_place() -> None:
    """A table entry that is wrong by one bit must not survive this."""
    places = [
        (b"G%bT / HTTP/1.0\r\n\r\n", TOKEN, "method"),
        (b"GET /a%bb HTTP/1.0\r\n\r\n", TARGET, "target"),
        (b"GET / HTTP/1.0\r\nA%bB: c\r\n\r\n", TOKEN | {0x3A}, "name (a colon ends it)"),
        (b"GET / HTTP/1.0\r\nA: b%bc\r\n\r\n", VALUE, "value"),
        (b"GET / HTTP/1.0\r\nHost: a%bb\r\n\r\n", HOST, "host (b is no port)"),
        (b"GET / HTTP/1.0\r\nHost: a:8%b0\r\n\r\n", set(string.digits.encode()), "port"),
        (b"GET / HTTP/1.0\r\nHost: [::%ba]\r\n\r\n", set(string.hexdigits.encode() + b":."), "IPv6"),
        (b"GET / HTTP/1.0\r\nHost: a%%4%b\r\n\r\n", set(string.hexdigits.encode()), "escape"),
        (b"GET / HTTP/1.0\r\nContent-Length: 1%b1\r\n\r\n", set(string.digits.encode()), "length"),
    ]
    for pattern, allowed, place in places:
        for byte in range(256):
            status = status_of(pattern % bytes([byte]))
            assert status == (None if byte in allowed else 400), (place, bytes([byte]))


def test_every_byte_at_every_offset_of_a_value() -> None:
    """The scan takes eight bytes at a time: what it accepts must not depend on the position of a byte."""
    for length in (1, 7, 8, 9, 16, 23):
        for at in range(length):
            for byte in range(256):
                value = b"x" * at + bytes([byte]) + b"x" * (length - at - 1)
                wire = b"GET / HTTP/1.0\r\nA:" + value + b"\r\n\r\n"
                if byte in VALUE:
                    assert read(wire).headers == ((b"A", value.strip(b" \t")),), wire
                else:
                    assert status_of(wire) == 400, wire


@pytest.mark.parametrize("name", [b"Content-Length", b"Transfer-Encoding", b"Host", b"Expect", b"Connection"])
def test_a_name_is_known_by_all_its_bytes(name: bytes) -> None:
    """A name that differs in one byte is another field, whatever it holds."""
    for at in range(len(name)):
        for byte in TOKEN - {name[at], name[at] ^ 0x20}:
            other = name[:at] + bytes([byte]) + name[at + 1 :]
            head = read(b"GET / HTTP/1.0\r\n%b: no@thing, valid\r\n\r\n" % other)
            assert head.headers == ((other, b"no@thing, valid"),)
            assert (head.authority, head.content_length, head.chunked) == (b"", None, False)


def test_heads_follow_each_other() -> None:
    wire = b"GET /1 HTTP/1.0\r\nA: b\r\n\r\n" + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    first = HeadParser()
    assert first.feed(wire) is not None
    second = HeadParser()
    head = second.feed(first.leftover)
    assert head is not None
    assert (head.target, head.version, second.leftover) == (b"/2", (1, 1), b"")


def reason_of(limits: dict[str, int], pieces: list[bytes]) -> str:
    parser = HeadParser(**limits)
    with pytest.raises(ProtocolError) as caught:
        for piece in pieces:
            parser.feed(piece)
    return caught.value.reason


@pytest.mark.parametrize("ending", [b"\r\n", b"\r\r\n", b"\n", b"c\r\n"])
@pytest.mark.parametrize("head", range(44, 52))
def test_of_two_limits_the_one_that_is_passed_first_is_reported(head: int, ending: bytes) -> None:
    """However the bytes are cut: the field's limit of 30 bytes is reached 16 + 30 bytes into the head."""
    wire = LINE + b"b" * 30 + ending + b"b" * 40
    limits = {"request_line": 36, "field": 30, "head": head}
    assert reason_of(limits, [wire]) == reason_of(limits, [wire[i : i + 1] for i in range(len(wire))])
