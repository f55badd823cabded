# Make room for a new connection if all places are taken: which connections wait for a request, and since when.
from libc.stdint cimport int64_t, uint32_t

from halfsync.blocking.records cimport BlockingConnection, DriverRecord

# What idle_evict did.
cdef enum EvictionResult:
    EVICTED_NONE              # none can make room now
    EVICTED_SOON              # one was cut, and its thread ends it
    EVICTED_PARKED            # the caller must close one that no thread has: its place is free

cdef int idle_open(DriverRecord *driver, uint32_t children) except -1
cdef void idle_free(DriverRecord *driver) noexcept nogil

# For the thread, or the child, that has the connection.
cdef bint idle_enter(DriverRecord *driver, BlockingConnection *connection, int kind, int64_t since) noexcept nogil
cdef bint idle_wake(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef bint idle_leave(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef bint idle_remove(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef void idle_place_freed(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef bint idle_park(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef void idle_unpark(DriverRecord *driver, BlockingConnection *connection) noexcept nogil
cdef bint is_evicted(DriverRecord *driver) noexcept nogil

# For the thread that accepts.
cdef bint idle_has_candidate(DriverRecord *driver) noexcept nogil
cdef bint idle_is_evicting(DriverRecord *driver) noexcept nogil
cdef int idle_evict(DriverRecord *driver, BlockingConnection **parked_one) noexcept nogil
cdef int64_t idle_choose_child(DriverRecord *driver) noexcept nogil

# For any thread: how many connections are in the queue that have sent nothing since they were put there.
cdef uint32_t idle_count_silent(DriverRecord *driver) noexcept nogil
