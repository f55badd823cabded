# The grammar that parsers and writers share: bytes, names, numbers, authorities and lists. Pure functions over bytes,
# for any thread. The tables are in native/ascii.h.
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, strlen


cdef extern from "ascii.h" nogil:
    enum:
        BYTE_TOKEN
        BYTE_TARGET
        BYTE_VALUE
        BYTE_HOST
        BYTE_DIGIT
        BYTE_HEX
    bint byte_is(char byte, uint8_t kind)
    char byte_lower(char byte)
    const char *value_end(const char *at, const char *end)

cdef enum:
    NUMBER_DIGITS = 18        # of a number that is read: 18 always fit in 63 bits, and no body has 10**18 bytes
    DECIMAL_BYTES = 20        # of a number that is written
    HEX_BYTES = 16            # of one that is written in hexadecimal
    PORT_DIGITS = 5


# --- words ---

cdef inline bint is_blank(char byte) noexcept nogil:
    """Tell whether a byte is white space of a line (OWS, RFC 9110 5.6.3)."""
    return byte == c' ' or byte == c'\t'


cdef inline void trim(const char **at, const char **end) noexcept nogil:
    """Move both ends of a text past its blanks."""
    while at[0] < end[0] and is_blank(at[0][0]):
        at[0] += 1
    while at[0] < end[0] and is_blank(end[0][-1]):
        end[0] -= 1


cdef inline bint word_is(const char *at, const char *lower, size_t length) noexcept nogil:
    """Tell whether `length` bytes are this word, in any case. lower: in lower case."""
    cdef size_t i
    for i in range(length):
        if byte_lower(at[i]) != lower[i]:
            return False
    return True


cdef inline bint name_is(const char *at, size_t length, const char *lower) noexcept nogil:
    """Tell whether a text is this name, in any case, as for field names (RFC 9110 5.1). lower: a literal."""
    return length == strlen(lower) and word_is(at, lower, length)


cdef inline bint method_is(const char *at, size_t length, const char *method) noexcept nogil:
    """Tell whether a method is this one. Case matters (RFC 9110 9.1). method: a literal."""
    return length == strlen(method) and memcmp(at, method, length) == 0


cdef inline bint is_token(const char *at, size_t length) noexcept nogil:
    """Tell whether a text is a token (RFC 9110 5.6.2), as methods and field names are."""
    cdef size_t i
    for i in range(length):
        if not byte_is(at[i], BYTE_TOKEN):
            return False
    return length > 0


cdef inline bint is_field_value(const char *at, size_t length) noexcept nogil:
    """Tell whether a text may be the value of a field (RFC 9110 5.5), or a reason phrase (RFC 9112 4)."""
    return value_end(at, at + length) == at + length


# --- numbers ---

cdef inline const char *digits_end(const char *at, const char *end) noexcept nogil:
    """Return where the decimal digits at the beginning of a text end."""
    while at < end and byte_is(at[0], BYTE_DIGIT):
        at += 1
    return at


cdef inline int64_t number_of(const char *at, size_t length) noexcept nogil:
    """Return the value of a text of 1 to NUMBER_DIGITS decimal digits and nothing else, or -1."""
    cdef int64_t value = 0
    cdef size_t i
    if length == 0 or length > NUMBER_DIGITS:
        return -1
    for i in range(length):
        if not byte_is(at[i], BYTE_DIGIT):
            return -1
        value = value * 10 + (at[i] - c'0')
    return value


cdef inline int port_of(const char *at, size_t length) noexcept nogil:
    """Return the port of a text of 1 to 5 decimal digits, 65535 at most, or -1."""
    cdef int64_t port = number_of(at, length) if length <= PORT_DIGITS else -1
    return <int> port if port <= 65535 else -1


cdef inline int hex_digit(char byte) noexcept nogil:
    """Return the value of a hexadecimal digit, which the byte must be (BYTE_HEX)."""
    return byte & 15 if byte <= c'9' else (byte & 15) + 9


cdef inline int hex_pair(const char *at) noexcept nogil:
    """Return the value of two hexadecimal digits, as in a percent-encoding (RFC 3986 2.1), or -1."""
    if not byte_is(at[0], BYTE_HEX) or not byte_is(at[1], BYTE_HEX):
        return -1
    return hex_digit(at[0]) << 4 | hex_digit(at[1])


cdef inline size_t decode_path(const char *data, size_t length, char *out) noexcept nogil:
    """Decode the percent-encoding of a path once, as PATH_INFO has it. Invalid encodings stay as they are.

    out: room for `length` bytes. Returns the length of what was written there.
    """
    cdef size_t at = 0
    cdef size_t end = 0
    cdef int value
    while at < length:
        value = hex_pair(data + at + 1) if data[at] == c'%' and at + 2 < length else -1
        if value >= 0:
            out[end] = <char> value
            at += 3
        else:
            out[end] = data[at]
            at += 1
        end += 1
    return end


cdef inline char *write_decimal(char *out, uint64_t value) noexcept nogil:
    """Write a number in decimal, in DECIMAL_BYTES at most, and return its end."""
    cdef char[DECIMAL_BYTES] digits
    cdef int at = DECIMAL_BYTES
    while True:
        at -= 1
        digits[at] = <char> (c'0' + value % 10)
        value = value // 10
        if value == 0:
            break
    memcpy(out, digits + at, DECIMAL_BYTES - at)
    return out + (DECIMAL_BYTES - at)


cdef inline char *write_fixed(char *out, uint64_t units, int places) noexcept nogil:
    """Write a number with so many decimal places, whatever the locale, and return its end. units: of the last place."""
    cdef uint64_t one = 1
    cdef int place, _place
    for _place in range(places):
        one *= 10
    out = write_decimal(out, units // one)
    units %= one
    out[0] = c'.'
    for place in range(places, 0, -1):
        out[place] = <char> (c'0' + units % 10)
        units //= 10
    return out + 1 + places


cdef inline char *write_hex(char *out, uint64_t value) noexcept nogil:
    """Write a number in hexadecimal, in HEX_BYTES at most, and return its end."""
    cdef int shift = 60
    cdef int digit
    while shift > 0 and value >> shift == 0:
        shift -= 4
    while shift >= 0:
        digit = <int> (value >> shift & 15)
        out[0] = <char> (digit + c'0' if digit < 10 else digit - 10 + c'a')
        out += 1
        shift -= 4
    return out


cdef inline char *write_hex_byte(char *out, uint8_t byte) noexcept nogil:
    """Write a byte as two hexadecimal digits, and return their end."""
    cdef const char *digits = b"0123456789abcdef"
    out[0] = digits[byte >> 4]
    out[1] = digits[byte & 15]
    return out + 2


# --- lists and authorities ---

# The options of Connection fields (RFC 9110 7.6.1).
cdef enum:
    CONNECTION_CLOSE = 1
    CONNECTION_KEEP_ALIVE = 2
    CONNECTION_UPGRADE = 4
    CONNECTION_OTHER = 8


cdef inline int connection_options(const char *at, size_t length) noexcept nogil:
    """Return the options of one Connection field, as bits. Empty elements are ignored (RFC 9110 5.6.1.2)."""
    cdef const char *end = at + length
    cdef const char *word
    cdef const char *last
    cdef int options = 0
    while at < end:
        word = at
        while at < end and at[0] != c',':
            at += 1
        last = at
        trim(&word, &last)
        if name_is(word, last - word, b"close"):
            options |= CONNECTION_CLOSE
        elif name_is(word, last - word, b"keep-alive"):
            options |= CONNECTION_KEEP_ALIVE
        elif name_is(word, last - word, b"upgrade"):
            options |= CONNECTION_UPGRADE
        elif word < last:
            options |= CONNECTION_OTHER
        at += 1
    return options


cdef inline bint authority_is_valid(const char *at, const char *end) noexcept nogil:
    """Tell whether a text is host[:port] of RFC 3986 3.2, without userinfo.

    An IPv6 literal is checked only for its characters and for two colons, since no routing depends on more. A port may
    be empty, as the RFC allows.
    """
    cdef const char *host = at
    cdef int colons = 0
    if at < end and at[0] == c'[':
        at += 1
        while at < end and (byte_is(at[0], BYTE_HEX) or at[0] == c':' or at[0] == c'.'):
            colons += at[0] == c':'
            at += 1
        if at == end or at[0] != c']' or colons < 2:
            return False
        at += 1
    else:
        while at < end and byte_is(at[0], BYTE_HOST):
            if at[0] == c'%':
                if end - at < 3 or not byte_is(at[1], BYTE_HEX) or not byte_is(at[2], BYTE_HEX):
                    return False
                at += 2
            at += 1
        if at == host:
            return False
    if at == end:
        return True
    return at[0] == c':' and (at + 1 == end or port_of(at + 1, end - at - 1) >= 0)


# The bits that read_codings returns.
cdef enum:
    CODINGS_CHUNKED = 1       # the last coding is chunked
    CODINGS_OTHER = 2         # there is a coding other than chunked


cdef inline int read_codings(const char *at, const char *end, int seen) noexcept nogil:
    """Read one Transfer-Encoding field. seen: the bits of those before it, since all are one list (RFC 9110 5.3).

    Returns CODINGS_ bits, or -1 for a list that is not allowed: with an empty element, or with anything after chunked.
    """
    cdef const char *word
    while True:
        while at < end and is_blank(at[0]):
            at += 1
        word = at
        while at < end and byte_is(at[0], BYTE_TOKEN):
            at += 1
        if at == word or seen & CODINGS_CHUNKED:
            return -1
        seen |= CODINGS_CHUNKED if name_is(word, at - word, b"chunked") else CODINGS_OTHER
        while at < end and is_blank(at[0]):
            at += 1
        if at < end and at[0] == c';':
            # RFC 9112 7.1: parameters of chunked are an error. Those of other codings are skipped.
            if seen & CODINGS_CHUNKED:
                return -1
            at = codings_parameters_end(at, end)
        if at == end:
            return seen
        if at[0] != c',':
            return -1
        at += 1


cdef inline const char *codings_parameters_end(const char *at, const char *end) noexcept nogil:
    """Return where the parameters of a coding end: at a comma outside of quoted strings, or at the end."""
    cdef bint quoted = False
    while at < end and (quoted or at[0] != c','):
        if at[0] == c'"':
            quoted = not quoted
        elif quoted and at[0] == c'\\' and at + 1 < end:
            at += 1
        at += 1
    return at
