# One line of the access log.
from libc.stdint cimport int64_t, uint8_t

from halfsync.exchange.exchange cimport Exchange

cdef enum:
    LINE_BYTES = 16 * 1024    # of one line: four texts and the bytes between them

# What is logged about one request.
ctypedef struct Entry:
    const Exchange *exchange  # with the bytes received; NULL: none were
    const uint8_t *address    # sockaddr of the peer
    int address_length
    int status
    int64_t sent              # bytes of the response's body
    int64_t queue_ns          # how long the request waited for a worker
    int64_t total_ns          # from its first byte to the end of its response

# A line being built. Bytes past its room are dropped.
ctypedef struct Line:
    char text[LINE_BYTES]
    size_t length

cdef void line_format(Line *line, const Entry *entry, bint json) noexcept nogil
