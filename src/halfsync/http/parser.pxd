# The request head, as native code: no I/O, no allocation, no Python objects. The framing of its body is in chunked.pxd.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t

from halfsync.http.grammar cimport name_is


cdef enum:
    FIELDS_MAX = 100          # fields in one head; more give 431
    METHOD_BYTES = 32         # of a method; longer ones give 501 (the longest registered, UPDATEREDIRECTREF, has 17)

cdef enum TargetForm:
    TARGET_ORIGIN             # /path?query
    TARGET_ABSOLUTE           # http://host/path?query
    TARGET_ASTERISK           # *, for OPTIONS only

# Every division of the bytes into pieces gives the same refusal only if request_line and head are above METHOD_BYTES,
# and head is at least request_line + 4.
ctypedef struct HeadLimits:
    uint32_t request_line     # bytes, without its CRLF; past it 414
    uint32_t field            # bytes of one field line, without its CRLF (at most 65535); past it 431
    uint32_t fields           # number of fields (at most FIELDS_MAX); past it 431
    uint32_t head             # bytes of the whole head, with its empty line (at most 2**31 - 1); past it 431

# One field line. Offsets count from the first byte of the head.
ctypedef struct Field:
    uint32_t name
    uint32_t value            # without surrounding white space
    uint16_t name_length
    uint16_t value_length

# A request head, and how far it has been parsed. Zeroed by head_reset before the first call.
ctypedef struct Head:
    uint32_t line             # where the incomplete line begins
    uint32_t searched         # bytes searched for that line's end
    uint32_t length           # bytes of the whole head, with its empty line, once it is complete
    uint32_t method
    uint32_t method_length
    uint32_t target           # the request target as it was sent
    uint32_t target_length
    uint32_t path             # not decoded; with length 0 it is "/" (absolute form) or none (*)
    uint32_t path_length
    uint32_t query            # what follows the first "?"
    uint32_t query_length
    uint32_t authority        # of an absolute-form target, else of Host; length 0: none
    uint32_t authority_length
    int64_t content_length    # bytes; -1: no Content-Length was sent
    const char *reason        # why the head was refused: a constant text, NULL before that
    int16_t refused           # the status that refused it; every later call returns it again
    uint8_t target_form       # TargetForm
    uint8_t minor             # HTTP/1.minor: 0 or 1; a higher one counts as 1
    uint8_t codings           # the bits of read_codings for Transfer-Encoding
    uint8_t chunked           # Transfer-Encoding: chunked; known when the head is complete
    uint8_t connection        # the bits of connection_options for its Connection fields
    uint8_t keep_alive        # by version and Connection; known when the head is complete
    uint8_t expect_continue   # Expect: 100-continue was sent (1.1 only)
    uint8_t upgrade           # Connection: upgrade was sent (1.1 only); known when the head is complete
    uint8_t seen_host
    uint8_t seen_request_line
    uint16_t fields_count
    Field fields[FIELDS_MAX]


cdef void head_reset(Head *head) noexcept nogil

# Parse what is new in data[0:length]: the same head as in the last call, with bytes added at its end (it may have
# moved). Returns the bytes of the head if it is complete, 0 if more are needed, and -status if it must be refused (400,
# 414, 417, 431, 501, 505). After a refusal, nothing on the connection may be read as a request.
cdef int head_parse(Head *head, const char *data, uint32_t length, const HeadLimits *limits) noexcept nogil

# Return a piece of the head as bytes, and its fields as pairs (name, value).
cdef bytes part(const char *data, uint32_t at, uint32_t length)
cdef tuple field_pairs(const Head *head, const char *data)


cdef inline const char *head_path(const Head *head, const char *data, uint32_t *length) noexcept nogil:
    """Return the path of a request. An absolute form without one means "/" (RFC 9110 4.2.3)."""
    if head.path_length == 0 and head.target_form == TARGET_ABSOLUTE:
        length[0] = 1
        return b"/"
    length[0] = head.path_length
    return data + head.path


cdef inline bint field_is(const char *data, const Field *field, const char *lower) noexcept nogil:
    """Tell whether a field has this name. lower: a literal, in lower case."""
    return name_is(data + field.name, field.name_length, lower)
