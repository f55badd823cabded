"""The header of the PROXY protocol: both versions, and every way to get one wrong."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfsync.testing.proxies import proxy_header
from tests.proxies import (
    LOCAL,
    PROXY,
    SIGNATURE,
    TCP4,
    TCP6,
    TLVS,
    UNIX,
    UNSPECIFIED,
    binary,
    line,
    raw,
    sockaddr,
    tlv,
)

BEHIND = b"GET / HTTP/1.1\r\n"
LONGEST = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535"
MOST = 4096

Client = tuple[str, int] | None

WELL_FORMED: list[tuple[bytes, Client]] = [
    (line("203.0.113.7", 56324), ("203.0.113.7", 56324)),
    (line("203.0.113.7", 0), ("203.0.113.7", 0)),
    (line("255.255.255.255", 65535, "255.255.255.255", 65535), ("255.255.255.255", 65535)),
    (line("2001:db8::7", 1), ("2001:db8::7", 1)),
    (line("::ffff:203.0.113.7", 1), ("203.0.113.7", 1)),
    (line(":".join(["ffff"] * 8), 65535, ":".join(["ffff"] * 8), 65535), (":".join(["ffff"] * 8), 65535)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN what ever 1 2\r\n", None),
    (LONGEST.ljust(105, b" ") + b"\r\n", None),
    (binary("203.0.113.7", 56324), ("203.0.113.7", 56324)),
    (binary("2001:db8::7", 65535), ("2001:db8::7", 65535)),
    (binary("::ffff:203.0.113.7", 1), ("203.0.113.7", 1)),
    (binary(), ("", 0)),
    (binary("203.0.113.7", 1, tlvs=TLVS), ("203.0.113.7", 1)),
    (binary("2001:db8::7", 1, tlvs=TLVS), ("2001:db8::7", 1)),
    (binary(tlvs=TLVS), ("", 0)),
    (binary("203.0.113.7", 1, tlvs=[(4, bytes(MOST - 16 - 12 - 3))]), ("203.0.113.7", 1)),
    (raw(LOCAL, UNSPECIFIED, b""), None),
    (binary("203.0.113.7", 1, command=LOCAL), None),
    (raw(LOCAL, 0xFF, b"whatever"), None),
    (raw(PROXY, UNSPECIFIED, b""), None),
    (raw(PROXY, UNSPECIFIED, b"whatever"), None),
]


@pytest.mark.parametrize(("header", "client"), WELL_FORMED, ids=[repr(case[0][:60]) for case in WELL_FORMED])
def test_a_header_names_the_client_however_it_is_cut(header: bytes, client: Client) -> None:
    for length in range(len(header)):
        assert proxy_header(header[:length]) == (0, None)
    assert proxy_header(header) == (len(header), client)
    assert proxy_header(header + BEHIND) == (len(header), client)


V4 = binary("203.0.113.7", 1)
MALFORMED = [
    b"GET / HTTP/1.1\r\n",
    b"\0",
    b"\r\nGET / HTTP/1.1\r\n",
    b"proxy TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
    b"PROXYTCP4 203.0.113.7 192.0.2.1 1 2\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 \r\n",
    b"PROXY TCP4 203.0.113.7\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1 \r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 \r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1\t2\r\n",
    b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 203.0.113.7  192.0.2.1 1 2\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1  1 2\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1  2\r\n",
    b"PROXY  TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
    b"PROXY TCP5 203.0.113.7 192.0.2.1 1 2\r\n",
    b"PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n",
    b"PROXY tcp4 203.0.113.7 192.0.2.1 1 2\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY UNKNOWN\n",
    b"PROXY TCP4 2001:db8::7 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 203.0.113.7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 203.0.113.7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 2001:db8::7 192.0.2.1 1 2\r\n",
    b"PROXY TCP6 [2001:db8::7] 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
    b"PROXY TCP4 203.0.113.007 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 203.0.113.256 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 203.0.113 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 203.0.113.7\0 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 2\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1 65536\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 100000 2\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 01 2\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1 00\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 2\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 +1 2\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 1 0x2\r\n",
    LONGEST.ljust(106, b" ") + b"\r\n",
    b"PROXY UNKNOWN".ljust(107, b"x"),
    SIGNATURE[:-1] + b"\r",
    SIGNATURE[:4] + b"\r\n",
    raw(0x11, TCP4, V4[16:]),
    raw(0x31, TCP4, V4[16:]),
    raw(0x22, TCP4, V4[16:]),
    raw(0x2F, TCP4, V4[16:]),
    raw(PROXY, TCP4, V4[16:-1]),
    raw(PROXY, TCP4, b""),
    raw(PROXY, TCP6, V4[16:]),
    raw(PROXY, TCP6, bytes(35)),
    raw(PROXY, UNIX, bytes(215)),
    raw(PROXY, 0x12, V4[16:]),
    raw(PROXY, 0x22, bytes(36)),
    raw(PROXY, 0x32, bytes(216)),
    raw(PROXY, 0x41, bytes(216)),
    raw(PROXY, 0x10, V4[16:]),
    raw(PROXY, 0x01, b""),
    raw(PROXY, TCP4, V4[16:] + b"\x04"),
    raw(PROXY, TCP4, V4[16:] + b"\x04\0"),
    raw(PROXY, TCP4, V4[16:] + b"\x04\0\x01"),
    raw(PROXY, TCP4, V4[16:] + b"\x04\xff\xff" + bytes(40)),
    raw(PROXY, TCP4, V4[16:] + tlv(4, b"fits") + b"\x04\0\x02x"),
    raw(PROXY, TCP4, bytes(MOST - 16 + 1)),
    raw(LOCAL, UNSPECIFIED, bytes(MOST - 16 + 1)),
    raw(PROXY, UNSPECIFIED, bytes(0xFFFF)),
]


@pytest.mark.parametrize("header", MALFORMED, ids=[repr(case[:60]) for case in MALFORMED])
def test_what_is_no_header_is_refused_however_much_of_it_has_come(header: bytes) -> None:
    results = [proxy_header(header[:length])[0] for length in range(len(header) + 1)]
    assert results[-1] == -1
    first = results.index(-1)
    assert results[:first] == [0] * first
    assert results[first:] == [-1] * (len(results) - first), "a refusal that more bytes undo"
    assert proxy_header(header) == (-1, None)


@pytest.mark.parametrize("length", [4096, 65535])
def test_a_header_that_is_too_long_is_refused_by_its_length_alone(length: int) -> None:
    assert proxy_header(raw(PROXY, TCP4, bytes(length))[:16]) == (-1, None)


@settings(max_examples=500)
@given(
    st.sampled_from([case[0] for case in WELL_FORMED]), st.data(), st.integers(0, 255), st.integers(0, 2**32)
)
def test_one_changed_byte_is_never_misread(header: bytes, data: st.DataObject, byte: int, seed: int) -> None:
    at = data.draw(st.integers(0, len(header) - 1))
    changed = header[:at] + bytes([byte]) + header[at + 1 :] + random.Random(seed).randbytes(20)
    result, client = proxy_header(changed)
    assert result == -1 or 0 <= result <= len(changed)
    assert client is None or result > 0
    if client is not None and client[0]:
        assert proxy_header(line(*client))[1] == client
        assert len(sockaddr(*client)) in (16, 28)
