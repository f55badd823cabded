"""The PROXY protocol, versions 1 and 2: a proxy sends its client's address before anything else.

Defined in haproxy.org's proxy-protocol.txt, whose sections are cited.

A header is read as strictly as it is defined: a statement about where a client comes from must not be misread. The
parser refuses anything before the signature, and an unknown version or command. In version 1 it refuses a line above
107 bytes, white space other than one blank between two words, addresses that are not of the named family, and ports
that are not decimal numbers from 0 to 65535 without leading zeros. In version 2 it refuses a family that is neither
unspecified nor a stream of IPv4, IPv6 or unix, a header above 4096 bytes, one too short for its addresses, and a TLV
that does not end within the header.

The TLVs are checked only for whether they fit. In particular the checksum (PP2_TYPE_CRC32C) is not verified, since TCP
has one.
"""
from libc.string cimport memchr, memcmp

from halfsync.http.grammar cimport digits_end, port_of
from halfsync.http.trust cimport address_of, address_of_unix, host_read

cdef enum:
    SIGNATURE_BYTES = 12
    FIXED_BYTES = 16          # of version 2: signature, version and command, family, length
    TLV_BYTES = 3             # of a TLV's type and length
    LOCAL = 0x20
    PROXY = 0x21
    UNSPECIFIED = 0x00
    STREAM_IPV4 = 0x11
    STREAM_IPV6 = 0x21
    STREAM_UNIX = 0x31
    IPV4_BYTES = 12           # of two addresses and two ports
    IPV6_BYTES = 36
    UNIX_BYTES = 216          # of two paths

cdef const char *SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


cdef int proxy_parse(const char *data, uint32_t length, ProxyHeader *header) noexcept nogil:
    """Read a header, of either version. See the declaration."""
    cdef uint32_t seen
    header.address_length = 0
    if length == 0:
        return 0
    if data[0] == c'P':
        seen = min(length, <uint32_t> 6)
        if memcmp(data, <const char *> b"PROXY ", seen) != 0:
            return -1
        return parse_line(data, length, header)
    seen = min(length, <uint32_t> SIGNATURE_BYTES)
    if memcmp(data, SIGNATURE, seen) != 0:
        return -1
    return parse_binary(<const uint8_t *> data, length, header)


cdef int parse_line(const char *data, uint32_t length, ProxyHeader *header) noexcept nogil:
    """Read a header of version 1 (section 2.1)."""
    cdef const char *end = <const char *> memchr(data, c'\n', min(length, <uint32_t> PROXY_V1_BYTES))
    cdef const char *at = data + 6
    cdef uint8_t host[16]
    cdef uint8_t ignored[16]
    cdef int port = 0, family
    if end == NULL:
        return 0 if length < PROXY_V1_BYTES else -1
    if end - data < 7 or end[-1] != c'\r':
        return -1
    end -= 1
    if end - at >= 7 and memcmp(at, <const char *> b"UNKNOWN", 7) == 0 and (end - at == 7 or at[7] == c' '):
        return <int> (end - data) + 2  # the rest of the line must be ignored
    if end - at < 5 or memcmp(at, <const char *> b"TCP", 3) != 0 or at[4] != c' ':
        return -1
    family = 4 if at[3] == c'4' else 16 if at[3] == c'6' else 0
    at += 5
    if (
        family == 0 or not take_host(&at, end, family, host) or not take_host(&at, end, family, ignored)
        or not take_port(&at, end, c' ', &port)
    ):
        return -1
    header.address_length = <uint8_t> address_of(header.address, host, family, port)
    if not take_port(&at, end, c'\r', &port) or at != end + 1:
        header.address_length = 0
        return -1
    return <int> (end - data) + 2


cdef bint take_host(const char **at, const char *end, int family, uint8_t *host) noexcept nogil:
    """Read an address and the blank after it."""
    cdef const char *start = at[0]
    cdef const char *blank = <const char *> memchr(start, c' ', end - start)
    if blank == NULL or not host_read(start, blank - start, family, host):
        return False
    at[0] = blank + 1
    return True


cdef bint take_port(const char **at, const char *end, char behind, int *port) noexcept nogil:
    """Read a port and the byte after it."""
    cdef const char *start = at[0]
    at[0] = digits_end(start, end)
    port[0] = port_of(start, at[0] - start)
    if port[0] < 0 or (start[0] == c'0' and at[0] - start > 1) or at[0][0] != behind:
        return False
    at[0] += 1
    return True


cdef int parse_binary(const uint8_t *data, uint32_t length, ProxyHeader *header) noexcept nogil:
    """Read a header of version 2 (section 2.2)."""
    cdef uint32_t total, addresses
    cdef const uint8_t *at = data + FIXED_BYTES
    if length > SIGNATURE_BYTES and data[SIGNATURE_BYTES] != LOCAL and data[SIGNATURE_BYTES] != PROXY:
        return -1
    if length < FIXED_BYTES:
        return 0
    total = FIXED_BYTES + (data[14] << 8 | data[15])
    if data[13] == UNSPECIFIED:
        addresses = 0
    elif data[13] == STREAM_IPV4:
        addresses = IPV4_BYTES
    elif data[13] == STREAM_IPV6:
        addresses = IPV6_BYTES
    elif data[13] == STREAM_UNIX:
        addresses = UNIX_BYTES
    elif data[SIGNATURE_BYTES] == LOCAL:
        addresses = 0  # the family of a LOCAL header must be ignored
    else:
        return -1
    if total > PROXY_V2_BYTES:
        return -1
    if data[SIGNATURE_BYTES] == LOCAL or data[13] == UNSPECIFIED:
        return <int> total if length >= total else 0
    if total < FIXED_BYTES + addresses:
        return -1
    if length < total:
        return 0
    if not tlvs_fit(at + addresses, data + total):
        return -1
    if data[13] == STREAM_IPV4:
        header.address_length = <uint8_t> address_of(header.address, at, 4, at[8] << 8 | at[9])
    elif data[13] == STREAM_IPV6:
        header.address_length = <uint8_t> address_of(header.address, at, 16, at[32] << 8 | at[33])
    else:
        header.address_length = <uint8_t> address_of_unix(header.address)
    return <int> total


cdef bint tlvs_fit(const uint8_t *at, const uint8_t *end) noexcept nogil:
    """Tell whether the TLVs end where the header does."""
    while end - at >= TLV_BYTES:
        if TLV_BYTES + (at[1] << 8 | at[2]) > end - at:
            return False
        at += TLV_BYTES + (at[1] << 8 | at[2])
    return at == end
