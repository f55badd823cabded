"""The parsers on pieces that lie in blocks of memory of exactly their size, for fuzzing. Only in checks builds.

A sanitizer sees a read past such a piece, and a write past the records of the parsers, which also have their own
blocks. The exchange has its wrapper in testing/exchanges, which fences off its buffers behind what was received.
"""
cimport cython
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from halfsync.http.chunked cimport CHUNKED_DATA, CHUNKED_END, Chunked, chunked_next, chunked_reset
from halfsync.http.parser cimport Head, HeadLimits, field_pairs, head_parse, head_reset, part


cdef char *exact_copy(const char *data, size_t length) except NULL:
    cdef char *copy = <char *> malloc(length)
    if copy == NULL:
        raise MemoryError
    memcpy(copy, data, length)
    return copy


cdef tuple describe(const Head *head, const char *data):
    return (
        part(data, head.method, head.method_length),
        part(data, head.target, head.target_length),
        part(data, head.path, head.path_length),
        part(data, head.query, head.query_length),
        part(data, head.authority, head.authority_length),
        head.target_form,
        head.minor,
        field_pairs(head, data),
        head.content_length,
        bool(head.chunked),
        bool(head.keep_alive),
        bool(head.expect_continue),
        bool(head.upgrade),
    )


cdef class Blocks:
    """The records of the parsers, each in its own block; freed with this object."""
    cdef Head *head
    cdef Chunked *chunked

    def __cinit__(self):
        self.head = <Head *> malloc(sizeof(Head))
        self.chunked = <Chunked *> malloc(sizeof(Chunked))
        if self.head == NULL or self.chunked == NULL:
            raise MemoryError
        head_reset(self.head)
        chunked_reset(self.chunked)

    def __dealloc__(self):
        free(self.head)
        free(self.chunked)


def read_head(bytes wire not None, list ends not None, tuple limits not None):
    """Give the head parser the first ends[0] bytes, then the first ends[1], and so on, each time in another block."""
    cdef HeadLimits native = HeadLimits(limits[0], limits[1], limits[2], limits[3])
    cdef Blocks blocks = Blocks()
    cdef uint32_t end
    cdef char *copy
    cdef int status = 0
    for end in ends:
        copy = exact_copy(wire, end)
        try:
            status = head_parse(blocks.head, copy, end, &native)
            if status:
                if head_parse(blocks.head, copy, end, &native) != status:
                    raise AssertionError("the head parser changed its mind")
                if status < 0:
                    return status, blocks.head.reason.decode(), None
                return status, "", describe(blocks.head, copy)
        finally:
            free(copy)
    return 0, "", None


@cython.final
cdef class Joined:
    """A chunked body so far, and how many bytes of the wire it took."""
    cdef Blocks blocks
    cdef list pieces
    cdef int64_t length
    cdef size_t used
    cdef int64_t max_body

    def __cinit__(self, int64_t max_body):
        self.blocks = Blocks()
        self.pieces = []
        self.max_body = max_body

    cdef int take(self, const char *data, size_t length) except? -1:
        cdef size_t at = 0, used = 0, piece_at = 0, piece_length = 0
        cdef int event = CHUNKED_DATA
        while event == CHUNKED_DATA:
            event = chunked_next(self.blocks.chunked, data + at, length - at, &used, &piece_at, &piece_length)
            if event == CHUNKED_DATA:
                self.pieces.append(data[at + piece_at:at + piece_at + piece_length])
                self.length += piece_length
                if self.length > self.max_body:
                    return -413
            at += used
        self.used += at
        return event


def read_chunked(bytes wire not None, list ends not None, int64_t max_body):
    """Give the chunked decoder wire[:ends[0]], then wire[ends[0]:ends[1]], and so on, each piece in its own block."""
    cdef Joined joined = Joined(max_body)
    cdef size_t begin = 0, end
    cdef char *copy
    cdef const char *reason
    cdef int event
    for end in ends:
        copy = exact_copy(<const char *> wire + begin, end - begin)
        try:
            event = joined.take(copy, end - begin)
        finally:
            free(copy)
        if event < 0:
            reason = joined.blocks.chunked.reason
            return event, "" if reason == NULL else reason.decode(), 0, b""
        if event == CHUNKED_END:
            return 1, "", joined.used, b"".join(joined.pieces)
        begin = end
    return 0, "", joined.used, b"".join(joined.pieces)
