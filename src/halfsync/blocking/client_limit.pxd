# Who may stay, by how many connections its client has, where connections have threads or processes of their own.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from halfsync.native.sync cimport atomic_llong, pthread_mutex_t
from halfsync.shared.client_counts cimport ClientCounts

ctypedef struct ClientLimitRecord:
    uint32_t limit            # connections of one client
    pthread_mutex_t lock      # guards counts
    ClientCounts counts       # where threads have the connections
    atomic_llong *children_keys  # where children have them, in shared memory: the key of each one's client; or NULL
    uint32_t children_count

cdef int64_t limit_add(ClientLimitRecord *record, uint64_t key) noexcept nogil
cdef int64_t limit_identify(ClientLimitRecord *record, uint32_t client_index, uint64_t key) noexcept nogil
cdef void limit_remove(ClientLimitRecord *record, uint32_t client_index, bint in_child) noexcept nogil


cdef class ClientLimit:
    cdef ClientLimitRecord record

cdef ClientLimit client_limit(object settings)
