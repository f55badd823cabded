# Worker threads over one bounded queue. The subclass defines what a turn does.
from libc.stdint cimport int64_t, uint64_t

from halfsync.native.gate cimport Gate
from halfsync.pool.queue_records cimport Queue, Taker
from halfsync.pool.queue_slot cimport QueueSlot
from halfsync.shared.metrics cimport SlotMetrics


cdef class WorkerThreads:
    cdef Queue queue
    cdef long long *running           # turns under way: its own count, or one in the metrics
    cdef long long own_running
    cdef Gate *gate                   # passed on the way back to the GIL; NULL: it is not measured
    cdef Gate own_gate
    cdef readonly int size            # threads made in advance
    cdef readonly str name
    cdef list _threads
    cdef int _started                 # threads started so far, for their names
    cdef unsigned int began           # `copies` of the process that has the threads
    cdef unsigned int forks           # and its `forks`
    cdef uint64_t _done               # guarded by the GIL
    cdef uint64_t _failed             # guarded by the GIL
    cdef object __weakref__

    cdef int turn(self, QueueSlot *slot, Taker *taker) except -1
    cdef void discard(self, void *item) noexcept
    cdef void measure(self, SlotMetrics *metrics, bint turns) noexcept
    cdef void empty(self) noexcept
    cdef int add_thread(self) except -1
    cdef int drop_ended(self) except -1
    cdef bint only_caller_left(self)


cdef class JobThreads(WorkerThreads):
    pass


cdef class ThreadPool:
    cdef JobThreads _workers          # None before __init__
    cdef object __weakref__

    cdef JobThreads _made(self)
