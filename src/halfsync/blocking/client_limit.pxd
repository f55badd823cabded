# The limit on the connections of each client, if each connection has a thread or a process.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from halfsync.native.sync cimport atomic_llong, pthread_mutex_t
from halfsync.shared.client_counts cimport ClientCounts

ctypedef struct ClientLimitRecord:
    uint32_t limit            # connections of one client
    pthread_mutex_t lock      # guards counts
    ClientCounts counts       # if connections have threads
    atomic_llong *children_keys  # in shared memory: the key of each child's client; NULL: threads
    uint32_t children_count

cdef int64_t limit_add(ClientLimitRecord *record, uint64_t key) noexcept nogil
cdef int64_t limit_identify(ClientLimitRecord *record, uint32_t client_index, uint64_t key) noexcept nogil
cdef void limit_remove(ClientLimitRecord *record, uint32_t client_index, bint in_child) noexcept nogil


cdef class ClientLimit:
    cdef ClientLimitRecord record

cdef ClientLimit client_limit(object settings)
