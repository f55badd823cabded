# The request head and the chunked body, as native code: no I/O, no allocation, no Python objects.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t


cdef enum:
    FIELDS_MAX = 100          # fields in one head; more is 431

cdef enum TargetForm:
    TARGET_ORIGIN             # /path?query
    TARGET_ABSOLUTE           # http://host/path?query
    TARGET_AUTHORITY          # host:port, for CONNECT only
    TARGET_ASTERISK           # *, for OPTIONS only

ctypedef struct HeadLimits:
    uint32_t request_line     # bytes, without its CRLF; past it 414
    uint32_t field            # bytes of one field line, without its CRLF; past it 431
    uint32_t fields           # how many (at most FIELDS_MAX); past it 431
    uint32_t head             # bytes of the whole head; past it 431

# One field line. Offsets count from the first byte of the head.
ctypedef struct Field:
    uint32_t name
    uint32_t value            # without surrounding white space
    uint16_t name_length
    uint16_t value_length

# A request head, and how far its parsing has come. Zeroed by head_reset before the first call.
ctypedef struct Head:
    uint32_t line             # where the line that is not complete yet begins
    uint32_t searched         # bytes already searched for that line's end
    uint32_t length           # bytes of the whole head with its empty line, once it is complete
    uint32_t method
    uint32_t method_length
    uint32_t target           # the request target as it was sent
    uint32_t target_length
    uint32_t path             # the target's path, not decoded; length 0 means "/" (absolute form) or none (*, CONNECT)
    uint32_t path_length
    uint32_t query            # what follows the first "?", without it
    uint32_t query_length
    uint32_t authority        # the authority of an absolute-form target, else of Host; length 0: none was sent
    uint32_t authority_length
    int64_t content_length    # bytes; -1: no Content-Length was sent
    uint8_t target_form       # TargetForm
    uint8_t minor             # HTTP/1.minor: 0 or 1
    uint8_t chunked           # Transfer-Encoding: chunked
    uint8_t keep_alive        # what this version and its Connection field ask for
    uint8_t expect_continue   # Expect: 100-continue was sent (1.1 only)
    uint8_t upgrade           # Connection: upgrade was sent
    uint8_t seen_host
    uint8_t seen_request_line
    uint16_t fields_count
    Field fields[FIELDS_MAX]


# What chunked_next says.
cdef enum ChunkedEvent:
    CHUNKED_MORE = 0          # everything given was used; give more
    CHUNKED_DATA = 1          # data_at, data_length tell a piece of the body
    CHUNKED_END = 2           # the body and its trailer are over; what follows is the next request

ctypedef struct Chunked:
    uint8_t state
    uint8_t size_digits
    uint8_t fields            # trailer fields so far
    uint32_t extension        # bytes of chunk extensions, over the whole body
    uint32_t trailer          # bytes of the trailer section
    uint32_t line             # bytes of the trailer line under way
    int64_t remaining         # bytes of the current chunk still to come


cdef void head_reset(Head *head) noexcept nogil

# Parse what is new in data[0:length], which is the same head as in the last call with bytes added at its end (it may
# have moved). Returns the bytes of the head when it is complete, 0 when more are needed, and -status when it must be
# refused (400, 414, 431, 501, 505); after a refusal nothing of the connection may be read as a request.
cdef int head_parse(Head *head, const char *data, uint32_t length, const HeadLimits *limits) noexcept nogil

cdef void chunked_reset(Chunked *chunked) noexcept nogil

# Take the next piece of a chunked body from data[0:length]. Returns a ChunkedEvent, or -status. used: how many bytes
# were taken, the piece of body included.
cdef int chunked_next(Chunked *chunked, const char *data, size_t length, size_t *used,
                      size_t *data_at, size_t *data_length) noexcept nogil

# True where the field's name is this one; lower must be in lower case.
cdef bint name_is(const char *data, const Field *field, const char *lower, uint16_t length) noexcept nogil
