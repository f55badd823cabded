# Whether the queue of a pool is overloaded, and which requests are refused then. decisions/0035.
from libc.stdint cimport int64_t

from halfsync.blocking.records cimport BlockingConnection, DriverRecord, QueueOverload
from halfsync.http.trust cimport TrustedPeers


cdef class ConnectionOverload:
    cdef QueueOverload record
    cdef TrustedPeers trusted


cdef ConnectionOverload connection_overload(object settings, TrustedPeers trusted)
cdef bint is_overdue(DriverRecord *driver, BlockingConnection *connection, int *retry_after_s) noexcept nogil
cdef void note_turn(DriverRecord *driver, int64_t began_ns) noexcept nogil
cdef void note_silence(DriverRecord *driver, int64_t since_ns, int64_t now) noexcept nogil
