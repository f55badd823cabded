# How much of a client's line may be logged: nothing that may belong to a Cookie or an Authorization field. That holds
# also if the line is malformed, for example with its name in quotes or without a colon.
from libc.stdint cimport uint32_t

from halfsync.http.grammar cimport word_is


cdef inline bint is_gap(char byte) noexcept nogil:
    """Tell whether a line that begins with this byte continues the line before it."""
    return byte == c' ' or c'\t' <= byte <= c'\r'


cdef inline uint32_t secret_at(const char *line, uint32_t length) noexcept nogil:
    """Return where the first word that names a secret ends, or 0."""
    cdef uint32_t at
    for at in range(length):
        if length - at >= 6 and word_is(line + at, b"cookie", 6):
            return at + 6
        if length - at >= 13 and word_is(line + at, b"authorization", 13):
            return at + 13
    return 0


cdef inline uint32_t shown_bytes(const char *line, uint32_t length) noexcept nogil:
    """Return how many bytes of a line may be logged, from its beginning."""
    cdef uint32_t end
    if length > 0 and is_gap(line[0]):
        return 1
    end = secret_at(line, length)
    return end if end > 0 else length
