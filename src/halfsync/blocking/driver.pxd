# The carrier as its server has it: its record, and the Python objects that the record points into.
from halfsync.blocking.connection cimport Client
from halfsync.blocking.records cimport CarrierRecord
from halfsync.blocking.wakeups cimport Bells
from halfsync.exchange.bridging cimport Bridge
from halfsync.observe.refusals cimport RefusalLog
from halfsync.pool.threadpool cimport JobThreads


cdef class Carrier:
    cdef CarrierRecord record
    cdef Bridge bridge
    cdef Bells bells
    cdef RefusalLog refusals      # None: none is logged
    cdef JobThreads pool_threads  # that record.waiting is the queue of
    cdef object kept          # what the record's pointers point to

    cdef void _close_others(self) noexcept
    cdef void _end(self, Client client) noexcept
    cdef void _tell_refusals(self) noexcept
