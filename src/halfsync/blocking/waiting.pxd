# The waits of a thread that has a connection to itself.
from libc.stdint cimport int64_t

from halfsync.blocking.records cimport CarrierRecord
from halfsync.transport.transport cimport Transport

# How waiting ended.
cdef enum Waited:
    WAITED_READY
    WAITED_LATE               # the deadline has passed
    WAITED_TOLD               # the server drains, or others wait for this thread; told to idle connections only
    WAITED_STOPPED            # the server stops

cdef bint others_wait(CarrierRecord *carrier) noexcept nogil
cdef int wait(
    CarrierRecord *carrier, Transport *transport, int want, int64_t deadline, bint bell, bint call) noexcept nogil
cdef int wait_idle(
    CarrierRecord *carrier, Transport *transport, int want, int64_t deadline, bint bell) noexcept nogil
