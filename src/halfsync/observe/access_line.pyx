"""One line of the access log, written as its format says.

A client's bytes that are not printable ASCII, or that would end a value, are escaped, so no request can forge a line or
a field. The length of each text, with its escapes, is limited, so every line is complete. No text depends on the locale
that an application has set.
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from halfsync.http.grammar cimport write_decimal, write_fixed, write_hex_byte
from halfsync.http.response_head cimport write_bytes
from halfsync.native.checks cimport check
from halfsync.observe.access_format cimport (
    LOG_DURATIONS, LOG_NOTHING, LOG_NUMBERS, LOG_REASON, Piece, REASON_BYTES, STYLE_PAIR, STYLE_PLAIN, STYLE_VALUE,
    TEXT_MOST,
)
from halfsync.observe.access_value cimport Value, find_number, find_text


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef signed char hs_log_block __attribute__((vector_size(16)));

    /* Return how many bytes at the beginning of a text are in blocks of 16 that need no escape in any format. */
    static uint32_t hs_log_common(const char *text, uint32_t length) {
        uint32_t at = 0;
        hs_log_block block, found;
        uint64_t halves[2];
        for (; length - at >= 16; at += 16) {
            memcpy(&block, text + at, 16);
            found = (block < 32) | (block == 127) | (block == '"') | (block == '\\\\'); /* 128 and above are negative */
            memcpy(halves, &found, 16);
            if (halves[0] | halves[1])
                break;
        }
        return at;
    }

    /* Copy a text that has SLACK_BYTES behind it to where there is as much room behind it. */
    static inline char *hs_log_copy(char *at, const char *text, uint32_t length) {
        memcpy(at, text, 32);
        if (length > 32)
            memcpy(at + 32, text + 32, length - 32);
        return at + length;
    }
    """
    uint32_t common_length "hs_log_common" (const char *text, uint32_t length) nogil
    char *write_own "hs_log_copy" (char *at, const char *text, uint32_t length) nogil


cdef inline char *write_escape(char *at, uint8_t byte, bint is_plain) noexcept nogil:
    """Write a byte in hexadecimal: \\xHH, or \\u00HH for JSON. Returns its end."""
    return write_hex_byte(write_bytes(at, b"\\x", 2) if is_plain else write_bytes(at, b"\\u00", 4), byte)


cdef char *write_escaped(
    char *at, const char *text, uint32_t length, const Piece *piece, uint32_t most
) noexcept nogil:
    """Write a client's text, in at most `most` bytes. Returns its end.

    A text that is too long is cut, but never in the middle of an escape.
    """
    cdef const uint8_t *table = piece.escapes
    cdef char *end = at + most
    cdef bint is_plain = piece.style == STYLE_PLAIN
    cdef uint32_t escape = 4 if is_plain else 6
    cdef uint32_t position = 0
    cdef uint32_t begin
    length = min(length, <uint32_t> TEXT_MOST)
    while position < length:
        begin = position
        if piece.is_common:
            position += common_length(text + position, length - position)
        while position < length and not table[<uint8_t> text[position]]:
            position += 1
        if position - begin > end - at:
            return write_bytes(at, text + begin, end - at)
        at = write_bytes(at, text + begin, position - begin)
        if position == length:
            break
        if escape > end - at:
            break
        at = write_escape(at, <uint8_t> text[position], is_plain)
        position += 1
    return at


cdef inline char *write_seconds(char *at, uint64_t ns) noexcept nogil:
    """Write a duration in seconds, with a decimal point in every locale. Returns its end."""
    return write_fixed(at, ns // 1000, 6)


cdef inline char *write_number(char *at, const Piece *piece, const Entry *entry) noexcept nogil:
    """Write a piece whose value is a number. Returns its end."""
    cdef int64_t number
    cdef bint found = find_number(entry, piece.value, &number)
    if piece.style != STYLE_PAIR or found:
        at = write_own(at, piece.text, piece.length)
    if not found:
        return write_missing(at, piece.style)
    return write_seconds(at, number) if piece.value > LOG_DURATIONS else write_decimal(at, number)


cdef inline char *write_missing(char *at, int style) noexcept nogil:
    """Write that there is no value. Returns the end."""
    if style == STYLE_VALUE:
        return write_bytes(at, b"null", 4)
    if style != STYLE_PAIR:
        at[0] = c'-'
        at += 1
    return at


cdef char *write_piece(char *at, const Piece *piece, const Entry *entry, uint32_t most) noexcept nogil:
    """Write a piece whose value is a text, with the text before it. Returns its end."""
    cdef Value value
    cdef bint found = piece.value != LOG_NOTHING and find_text(entry, piece, &value)
    cdef bint quotes = found and (
        piece.style == STYLE_VALUE or (piece.style == STYLE_PAIR and value.is_foreign))
    if piece.style != STYLE_PAIR or found:
        at = write_own(at, piece.text, piece.length)
    if not found:
        return at if piece.value == LOG_NOTHING else write_missing(at, piece.style)
    if quotes:
        at[0] = c'"'
        at += 1
    if piece.value == LOG_REASON:
        most = min(most, <uint32_t> REASON_BYTES)
    if value.is_foreign:
        at = write_escaped(at, value.text, value.length, piece, most)
    else:
        at = write_bytes(at, value.text, value.length)
    if value.is_cut:
        at = write_bytes(at, b" ...", 4)
    if quotes:
        at[0] = c'"'
        at += 1
    return at


cdef void line_format(Line *line, const Entry *entry, const Format *format) noexcept nogil:
    """Format a whole line, with its end."""
    cdef char *at = line.text
    cdef uint32_t index
    cdef const Piece *piece
    for index in range(format.count):
        piece = &format.pieces[index]
        if piece.value > LOG_NUMBERS:
            at = write_number(at, piece, entry)
        else:
            at = write_piece(at, piece, entry, format.escaped_most)
    at[0] = c'\n'
    line.length = at + 1 - line.text
    check(line.length <= LINE_BYTES, "a line of the access log has outgrown its room")
