from halfsync.exchange.blocks cimport BlockPool
from halfsync.exchange.exchange cimport Exchange


cdef class BodyBlocks:
    cdef BlockPool pool
    cdef bint ready

cdef int grow(BlockPool *pool) except -1
cdef bytes take_whole(Exchange *exchange)
