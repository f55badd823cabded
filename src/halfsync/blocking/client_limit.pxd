# Who may stay, by how many connections its client has, where connections have threads or processes of their own.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from halfsync.native.sync cimport atomic_llong, pthread_mutex_t
from halfsync.shared.client_counts cimport ClientCounts

ctypedef struct Admission:
    uint32_t limit            # connections of one client
    pthread_mutex_t lock      # guards counts
    ClientCounts counts       # where threads have the connections
    atomic_llong *slots       # where children have them, in shared memory: the key of each one's client; or NULL
    uint32_t slots_count

cdef int64_t admission_enter(Admission *admission, uint64_t key) noexcept nogil
cdef int64_t admission_tell(Admission *admission, uint32_t place, uint64_t key) noexcept nogil
cdef void admission_leave(Admission *admission, uint32_t place, bint in_child) noexcept nogil


cdef class ClientLimit:
    cdef Admission admission

cdef ClientLimit client_limit(object settings)
