"""The chunked parser's Python interface; the corpus has its results for each wire case."""

import string

import pytest

from halfsync.errors import ProtocolError
from halfsync.http.chunked import ChunkedParser


def test_pieces_come_as_they_arrive() -> None:
    parser = ChunkedParser()
    assert parser.feed(b"5\r\nhe") == [b"he"]
    assert parser.feed(b"") == []
    assert parser.feed(b"llo\r\n2;x\r\n, \r\n3") == [b"llo", b", "]
    assert (parser.finished, parser.leftover) == (False, b"")
    assert parser.feed(b"\r\nyou\r\n0\r\nA: b\r\n\r\nGET /") == [b"you"]
    assert (parser.finished, parser.leftover) == (True, b"GET /")


def test_nothing_may_be_fed_after_the_body() -> None:
    parser = ChunkedParser()
    assert parser.feed(b"0\r\n\r\nrest") == []
    with pytest.raises(ValueError, match="has read its body"):
        parser.feed(b"1\r\n")
    assert parser.leftover == b"rest"


def test_a_refusal_is_final() -> None:
    parser = ChunkedParser()
    for data in (b"3\r\nabc!", b"\r\n0\r\n\r\n", b""):
        with pytest.raises(ProtocolError) as caught:
            parser.feed(data)
        assert (caught.value.status, caught.value.reason) == (400, "chunk data that is longer than its size")
    assert not parser.finished


@pytest.mark.parametrize("data", ["0", None, bytearray(b"0"), 3])
def test_only_bytes_may_be_fed(data: object) -> None:
    with pytest.raises(TypeError):
        ChunkedParser().feed(data)  # type: ignore[arg-type] # what is tested


def accepts(wire: bytes) -> bool:
    parser = ChunkedParser()
    try:
        parser.feed(wire)
    except ProtocolError as error:
        assert error.status == 400
        return False
    return parser.finished


def test_every_byte_in_every_place() -> None:
    hexadecimal = set(string.hexdigits.encode())
    value = {0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}
    token = set(b"!#$%&'*+-.^_`|~" + (string.digits + string.ascii_letters).encode())
    places = [
        (b"%b\r\n", hexadecimal),
        (b"1;%b\r\n", token),
        (b"1;a%bb\r\n", token | set(b"=;")),
        (b"1;a=%b\r\n", token),
        (b"1;a=b%bc\r\n", token | set(b";")),
        (b'1;a="%b"\r\n', value - set(b'"\\')),
        (b'1;a="\\%b"\r\n', value),
        (b'1;a="b"%bc\r\n', set(b";")),
        (b"1\r%b", set(b"\n")),
        (b"1\r\nx%b\n0\r\n\r\n", set(b"\r")),
        (b"1\r\nx\r%b0\r\n\r\n", set(b"\n")),
        (b"0\r\nA%bB: c\r\n\r\n", token | set(b":")),
        (b"0\r\nA: b%bc\r\n\r\n", value),
        (b"0\r\nA: b\r%b\r\n", set(b"\n")),
        (b"0\r\n\r%b", set(b"\n")),
    ]
    for pattern, allowed in places:
        for byte in range(256):
            wire = pattern % bytes([byte])
            if pattern.startswith((b"%b", b"1;", b"1\r%b")):
                size = int(wire[:1], 16) if byte in hexadecimal and pattern.startswith(b"%b") else 1
                wire += b"x" * size + b"\r\n0\r\n\r\n" if size else b"\r\n"
            assert accepts(wire) == (byte in allowed), wire


def test_every_size_of_one_byte() -> None:
    for size in range(1, 256):
        for spelled in (b"%x" % size, b"%X" % size, b"%04x" % size):
            assert accepts(spelled + b"\r\n" + b"x" * size + b"\r\n0\r\n\r\n")
            assert not accepts(spelled + b"\r\n" + b"x" * (size - 1) + b"\r\n0\r\n\r\n")
