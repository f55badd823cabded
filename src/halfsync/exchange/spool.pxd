# Bytes that wait on disk: unlinked temporary files under one budget.
from libc.stdint cimport int64_t

from halfsync.native.sync cimport atomic_llong, atomic_uint

# Where the spool files of one server are, and how much they may hold together. The server owns it.
ctypedef struct Store:
    char directory[4096]
    int64_t limit             # bytes of all its files together
    atomic_llong used
    atomic_uint waiters       # threads that wait for room
    long long *shown          # in the metrics: the bytes that are used; NULL: there are none
    atomic_uint held          # threads that wait for their own client to take more, even if there is room

ctypedef struct SpoolFile:
    int fd                    # -1: none is open
    int64_t end               # bytes written
    int64_t reserved          # bytes taken from the store's budget
    Store *store

cdef int store_init(Store *store, const char *directory, int64_t limit) noexcept nogil
cdef void spool_init(SpoolFile *spool, Store *store) noexcept nogil
cdef int spool_reserve(SpoolFile *spool, int64_t length) noexcept nogil
cdef int spool_append(SpoolFile *spool, const char *data, int64_t length) noexcept nogil
cdef void spool_close(SpoolFile *spool) noexcept nogil
