# The values of the access log's fields.
from libc.stdint cimport int64_t, uint8_t, uint32_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.observe.access_format cimport Piece

cdef enum:
    MADE_BYTES = 256          # of a text that is made for one line

# What is logged about one request.
ctypedef struct Entry:
    const Exchange *exchange  # with the bytes received; NULL: none were
    const uint8_t *address    # sockaddr of the client
    int address_length
    int status                # 0: no response was begun
    int pid
    int outcome               # an OutcomeKind
    const char *reason        # of the outcome; NULL: it needs none
    int64_t sent              # bytes of the response's body
    int64_t queue_ns          # how long the request waited for a worker
    int64_t total_ns          # from its first byte to the end of its response

ctypedef struct Value:
    const char *text
    uint32_t length
    bint is_foreign           # a client or an application made it, so it is escaped
    bint is_cut               # only its beginning may be shown
    char made[MADE_BYTES]

# Find the text of a piece, or the number that a LogValue stands for (durations in ns). Return whether there is one.
cdef bint find_text(const Entry *entry, const Piece *piece, Value *value) noexcept nogil
cdef bint find_number(const Entry *entry, int what, int64_t *number) noexcept nogil
