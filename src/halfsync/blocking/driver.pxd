# The blocking driver: its record, and the Python objects that the record points into.
from halfsync.blocking.connection cimport ClientConnection
from halfsync.blocking.records cimport DriverRecord
from halfsync.blocking.wakeups cimport WakeupPipes
from halfsync.exchange.bridging cimport Bridge
from halfsync.observe.refusals cimport RefusalLog
from halfsync.pool.threadpool cimport JobThreads
from halfsync.shared.metrics cimport SlotMetrics


cdef class BlockingDriver:
    cdef DriverRecord record
    cdef Bridge bridge
    cdef WakeupPipes wakeups
    cdef RefusalLog refusals      # None: refusals are not logged
    cdef JobThreads pool_threads  # whose queue is record.waiting
    cdef object pinned        # what the record's pointers point to

    cdef void _measure(self, SlotMetrics *metrics) noexcept
    cdef void _close_others(self) noexcept
    cdef void _end(self, ClientConnection connection) noexcept
    cdef void _tell_refusals(self) noexcept
