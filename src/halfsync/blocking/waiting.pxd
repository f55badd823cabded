# The waits of a thread that serves one connection.
from libc.stdint cimport int64_t

from halfsync.blocking.records cimport DriverRecord
from halfsync.transport.transport cimport Transport

# How waiting ended.
cdef enum WaitResult:
    WAIT_READY
    WAIT_TIMEOUT              # the deadline has passed
    WAIT_WOKEN                # the server drains or hands off, or others wait for this thread; for idle ones
    WAIT_STOPPED              # the server stops

cdef bint others_wait(DriverRecord *driver) noexcept nogil
cdef int wait(
    DriverRecord *driver, Transport *transport, int want, int64_t deadline, bint watch_drain,
    bint watch_eviction) noexcept nogil
cdef int wait_idle(
    DriverRecord *driver, Transport *transport, int want, int64_t deadline, bint watch_drain) noexcept nogil
