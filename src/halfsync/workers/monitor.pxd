# Worker threads whose turns have a deadline, and the monitor that attends to those that are stuck.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Engine, Request
from halfsync.engine.lease cimport Lease
from halfsync.observe.refusals cimport RefusalLog
from halfsync.pool.queue_records cimport Taker
from halfsync.pool.threadpool cimport WorkerThreads


cdef class MonitoredThreads(WorkerThreads):
    cdef Engine *engine
    cdef readonly double limit_s          # longest time that a turn may take; 0: no limit
    cdef readonly int max_stuck           # stuck threads past this number are not replaced
    cdef object capacity_lock             # guards the two counts below, and `reported` of each lease
    cdef readonly int stuck               # threads past limit_s now
    cdef int available                    # threads that are not stuck
    cdef Lease *leases                    # all leases; none is freed while a thread may use it. With the GIL
    cdef Lease *spare                     # leases of threads that have ended. With the GIL
    cdef object scoreboard_slot           # in a server of several processes; None: there is one process
    cdef RefusalLog refusals              # None: refusals are not logged
    cdef object monitor_thread            # replaces and logs stuck threads, and logs refusals
    cdef bint monitoring                  # it is at work now, and may be in the application's logging
    cdef bint closing

    cdef Lease *begin_lease(self, Request *request, int64_t now, Taker *taker) noexcept
    cdef Lease *lease_of_thread(self) noexcept
    cdef int count_stuck(self, int change) except -1
    cdef int count_missing(self)
    cdef str name_of(self, unsigned long thread)
    cdef int replace(self, Lease *lease) except -1
    cdef int return_late(self, Lease *lease) except -1
