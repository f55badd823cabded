from halfsync.engine.engine cimport Request
from halfsync.exchange.bridging cimport Bridge
from halfsync.pool.queue_records cimport Taker
from halfsync.pool.queue_slot cimport QueueSlot
from halfsync.workers.monitor cimport MonitoredThreads


cdef class RequestWorkers(MonitoredThreads):
    cdef Bridge bridge
    cdef object pinned        # objects that the engine's records point to, for as long as a thread may use them
    cdef readonly unsigned long dropped   # requests not run because their client had disconnected; guarded by the GIL

    cdef int turn(self, QueueSlot *slot, Taker *taker) except -1
    cdef void notify_bridge(self, Request *request) noexcept
