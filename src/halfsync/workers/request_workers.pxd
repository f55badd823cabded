from halfsync.engine.engine cimport Engine
from halfsync.engine.lease cimport Lease
from halfsync.exchange.bridging cimport Bridge
from halfsync.observe.refusals cimport RefusalLog
from halfsync.pool.request_queue cimport QueueSlot
from halfsync.pool.threadpool cimport WorkerThreads


cdef class RequestWorkers(WorkerThreads):
    cdef Engine *engine
    cdef Bridge bridge
    cdef readonly double limit_s          # that a turn may take; 0: for ever
    cdef readonly int max_stuck           # threads past that which others take the place of
    cdef object capacity_lock             # a lock, for the two counts below and for `reported` of each lease
    cdef readonly int stuck               # threads past limit_s now
    cdef int available                    # threads that are not
    cdef Lease *leases                    # all that were made; none is freed while a thread may use it. With the GIL
    cdef Lease *spare                     # of threads that have ended. With the GIL
    cdef object scoreboard_slot           # on the scoreboard of a server of several processes; None: there is one
    cdef RefusalLog refusals              # None: none is logged
    cdef object monitor_thread            # the thread that sees to stuck ones, and logs refusals
    cdef bint monitoring                  # it does so now, and may be in the application's logging
    cdef bint closing
    cdef object pinned        # what the engine's records point to, for as long as a thread may use them
    cdef readonly unsigned long dropped   # requests not run since their client had left; guarded by the GIL

    cdef int turn(self, QueueSlot *slot) except -1
    cdef Lease *lease_of_thread(self) noexcept
    cdef int count_stuck(self, int change) except -1
    cdef int count_missing(self)
    cdef str name_of(self, unsigned long thread)
    cdef int replace(self, Lease *lease) except -1
    cdef int return_late(self, Lease *lease) except -1
