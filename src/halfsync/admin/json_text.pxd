# JSON as bytes in memory of a fixed size, without the GIL. What does not fit is not written, and `full` says so.
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, strlen

from halfsync.http.grammar cimport write_decimal, write_fixed, write_hex_byte
from halfsync.http.trust cimport HOST_TEXT, host_bytes, host_text

cdef enum:
    DECIMAL_BYTES = 24        # of any number

ctypedef struct Text:
    char *data
    size_t length
    size_t room
    bint full


cdef inline void text_begin(Text *text, char *data, size_t room) noexcept nogil:
    """Begin with nothing, in this memory."""
    text.data = data
    text.length = 0
    text.room = room
    text.full = False


cdef inline void text_cut(Text *text, size_t length) noexcept nogil:
    """Drop what was written after this length, and go on from there."""
    text.length = length
    text.full = False


cdef inline void add(Text *text, const char *data, size_t length) noexcept nogil:
    """Append bytes as they are."""
    if text.full or length > text.room - text.length:
        text.full = True
        return
    memcpy(text.data + text.length, data, length)
    text.length += length


cdef inline void add_literal(Text *text, const char *literal) noexcept nogil:
    add(text, literal, strlen(literal))


cdef inline void add_escape(Text *text, uint8_t byte) noexcept nogil:
    """Append a byte in hexadecimal, as the character with that number."""
    cdef char escaped[6]
    memcpy(escaped, b"\\u00", 4)
    write_hex_byte(escaped + 4, byte)
    add(text, escaped, 6)


cdef inline void add_string(Text *text, const char *data, size_t length, bint utf8) noexcept nogil:
    """Append a string. utf8: it is well-formed UTF-8; else each byte that is not ASCII is escaped."""
    cdef size_t at, begin = 0
    cdef uint8_t byte
    add(text, b'"', 1)
    for at in range(length):
        byte = <uint8_t> data[at]
        if byte >= 32 and byte != c'"' and byte != c'\\' and (byte < 127 or utf8 and byte > 127):
            continue
        add(text, data + begin, at - begin)
        add_escape(text, byte)
        begin = at + 1
    add(text, data + begin, length - begin)
    add(text, b'"', 1)


cdef inline void add_number(Text *text, int64_t number) noexcept nogil:
    """Append a number, not below 0."""
    cdef char digits[DECIMAL_BYTES]
    add(text, digits, write_decimal(digits, max(number, <int64_t> 0)) - digits)


cdef inline void add_decimals(Text *text, int64_t units, int places) noexcept nogil:
    """Append a number with so many decimal places (at most 6), whatever the locale. units: of the last one."""
    cdef char[DECIMAL_BYTES + 7] number
    add(text, number, write_fixed(number, max(units, <int64_t> 0), places) - number)


cdef inline void add_seconds(Text *text, int64_t ns) noexcept nogil:
    """Append a duration in seconds, to the millisecond."""
    add_decimals(text, ns // 1000000, 3)


cdef inline void add_microseconds(Text *text, int64_t ns) noexcept nogil:
    """Append a duration in seconds, to the microsecond."""
    add_decimals(text, ns // 1000, 6)


cdef inline void add_key(Text *text, const char *key, bint first=False) noexcept nogil:
    """Append the key of a member, after a comma unless it is the first."""
    add_literal(text, b'"' if first else b',"')
    add_literal(text, key)
    add_literal(text, b'":')


cdef inline void add_flag(Text *text, bint flag) noexcept nogil:
    add_literal(text, b"true" if flag else b"false")


cdef inline void add_address(Text *text, const uint8_t *address, int length) noexcept nogil:
    """Append the address of a client; "unix": it came by a unix socket."""
    cdef const uint8_t *host
    cdef char written[HOST_TEXT]
    cdef int port
    length = host_bytes(address, length, &host, &port)
    if length == 0:
        add_literal(text, b'"unix"')
        return
    host_text(host, length, written)
    add_string(text, written, strlen(written), False)
