# Reads a response from pieces, wherever they are cut, and says when it is complete. For the load generator.
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    RESPONSE_HEAD_BYTES = 65536   # a longer head is malformed

cdef enum ReadState:
    READ_HEAD
    READ_LENGTH                   # so many bytes of the body are left
    READ_CHUNK_SIZE
    READ_CHUNK_EXTENSION
    READ_CHUNK_DATA
    READ_CHUNK_END
    READ_TRAILER                  # at the start of a line
    READ_TRAILER_LINE
    READ_UNTIL_CLOSE
    READ_DONE
    READ_MALFORMED

# A response that is being read. Zeroed memory is one of which nothing has come.
ctypedef struct ResponseReader:
    uint8_t state                 # a ReadState
    bint keeps                    # the connection can be used again; valid from the end of the head
    bint digits                   # the size of the chunk has a digit
    int status
    int64_t left                  # bytes of the body, or of the chunk
    char *head                    # a head of which a part has come, or NULL
    uint32_t head_bytes, head_room

cdef void response_begin(ResponseReader *reader) noexcept nogil
cdef size_t response_read(ResponseReader *reader, const char *data, size_t length) noexcept nogil
cdef void response_free(ResponseReader *reader) noexcept nogil
