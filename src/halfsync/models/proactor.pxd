from halfsync.engine.engine cimport Engine
from halfsync.engine.lane_rules cimport LaneTable
from halfsync.exchange.bridging cimport Bridge
from halfsync.exchange.spool cimport Store
from halfsync.shared.metrics cimport SlotMetrics
from halfsync.workers.request_workers cimport RequestWorkers


cdef class Proactor:
    cdef Engine *engine
    cdef Store *store
    cdef RequestWorkers workers
    cdef LaneTable lane_table  # None: the queue has no lanes
    cdef object pinned        # what the engine's records point to, kept alive while it may use it
    cdef int read_fd          # a pipe's reading end: readable when the engine has ended
    cdef bint started
    cdef bint joined

    cdef int divide(self, object settings) except -1
    cdef int measure_lanes(self, object slot, SlotMetrics *metrics) except -1
    cdef int connect(self, parts) except -1
