# What of a line that a client has sent may be shown in a log: nothing that may belong to a Cookie or an Authorization
# field, also if the line is malformed, and its name quoted, for example, or without a colon.
from libc.stdint cimport uint32_t

from halfsync.http.grammar cimport word_is


cdef inline bint is_gap(char byte) noexcept nogil:
    """Tell whether a line that begins with this byte goes on with what the line before it says."""
    return byte == c' ' or c'\t' <= byte <= c'\r'


cdef inline uint32_t secret_at(const char *line, uint32_t length) noexcept nogil:
    """Return where the first word ends that names a secret; 0: there is none."""
    cdef uint32_t at
    for at in range(length):
        if length - at >= 6 and word_is(line + at, b"cookie", 6):
            return at + 6
        if length - at >= 13 and word_is(line + at, b"authorization", 13):
            return at + 13
    return 0


cdef inline uint32_t shown_bytes(const char *line, uint32_t length) noexcept nogil:
    """Return how many bytes of a line may be shown, from its beginning on."""
    cdef uint32_t end
    if length > 0 and is_gap(line[0]):
        return 1
    end = secret_at(line, length)
    return end if end > 0 else length
