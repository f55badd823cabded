# The memory in which the head of a response is rendered: the free room of its exchange, until the head outgrows that.
from libc.stdint cimport int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from halfsync.exchange.exchange cimport Exchange

cdef enum:
    HEAD_BYTES = 1024         # of a response head, before its buffer grows

# All zero: it has no memory yet.
ctypedef struct HeadBuffer:
    char *data
    int64_t length            # bytes rendered
    int64_t capacity
    bint allocated            # else the memory is the exchange's


cdef inline int head_grow(HeadBuffer *head, Exchange *exchange, int64_t length) except -1:
    """Get room for `length` bytes after the head. Raises MemoryError."""
    cdef int64_t capacity
    cdef char *grown
    if head.data == NULL and exchange.capacity - exchange.filled >= HEAD_BYTES + length:
        head.data = exchange.data + exchange.filled
        head.capacity = exchange.capacity - exchange.filled
        return 0
    capacity = max(head.capacity * 2, head.length + length + HEAD_BYTES)
    grown = <char *> realloc(head.data if head.allocated else NULL, capacity)
    if grown == NULL:
        raise MemoryError
    if not head.allocated and head.length > 0:
        memcpy(grown, head.data, head.length)
    head.data = grown
    head.capacity = capacity
    head.allocated = True
    return 0


cdef inline char *head_room(HeadBuffer *head, Exchange *exchange, int64_t length) except NULL:
    """Return the head's end, with room for `length` bytes after it. Raises MemoryError."""
    if head.length + length > head.capacity:
        head_grow(head, exchange, length)
    return head.data + head.length


cdef inline void head_free(HeadBuffer *head) noexcept:
    """Free the memory, or give it back to the exchange."""
    if head.allocated:
        free(head.data)
        head.allocated = False
    head.data = NULL
