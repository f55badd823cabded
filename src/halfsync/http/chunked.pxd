# The chunked transfer coding (RFC 9112 7.1), as native code: no I/O, no allocation, no Python objects.
from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t


cdef enum:
    # A server needs no extension, and hardly any client sends one. Without a bound over the whole body, every byte of
    # it could come with a line of any length, which no code reads and no body limit counts.
    CHUNK_EXTENSION_BYTES = 4096
    CHUNK_SIZE_DIGITS = 16        # of 64 bits; more digits could only be zeros
    TRAILER_FIELDS = 100          # this and the next one are the defaults for a head
    TRAILER_LINE_BYTES = 8192     # without its CRLF
    TRAILER_BYTES = 16384         # of the trailer section, with its empty line
    TRAILER_NAME_BYTES = 17       # of the longest name that is checked, transfer-encoding

# The results of chunked_next.
cdef enum ChunkedEvent:
    CHUNKED_MORE = 0          # all the data was used; give more
    CHUNKED_DATA = 1          # data_at and data_length are a piece of the body
    CHUNKED_END = 2           # the body and its trailer have ended; the next request follows

# How far a chunked body has been read. Zeroed by chunked_reset.
ctypedef struct Chunked:
    uint8_t state
    uint8_t size_digits
    uint8_t fields            # trailer fields so far
    uint8_t name_length       # of the trailer line's name; not above TRAILER_NAME_BYTES + 1
    char name[TRAILER_NAME_BYTES]  # its first bytes, in lower case
    int16_t refused           # the status that refused it; every later call returns it again
    uint32_t extension        # bytes of chunk extensions in the whole body
    uint32_t trailer          # bytes of the trailer section
    uint32_t line             # bytes of the trailer line under way
    int64_t remaining         # bytes of the current chunk still to come
    const char *reason        # why the body was refused: a constant text, NULL before that


cdef void chunked_reset(Chunked *chunked) noexcept nogil

# Take the next piece of a chunked body from data[0:length]. Returns a ChunkedEvent, or -status (400, 431). used: the
# bytes taken, with the piece of the body. data_at and data_length are set with CHUNKED_DATA only.
cdef int chunked_next(Chunked *chunked, const char *data, size_t length, size_t *used,
                      size_t *data_at, size_t *data_length) noexcept nogil
