from halfsync.engine.engine cimport Engine
from halfsync.exchange.native_handler cimport NativeHandler
from halfsync.exchange.spool cimport Store
from halfsync.http.response_head cimport ServerFields
from halfsync.shared.slots cimport ScoreboardRecord

# What the answers are made from. The engine knows only its first member.
ctypedef struct ProbeHandler:
    NativeHandler native_handler
    ServerFields fields
    ScoreboardRecord *scoreboard
    unsigned int max_stuck


cdef class Probes:
    cdef Engine *engine
    cdef Store *store
    cdef ProbeHandler handler
    cdef int read_fd
    cdef bint started
    cdef unsigned int forks   # `forks` of the process that started it
    cdef object pinned        # what the pointers point to

    cdef int check(self, int result) except -1
