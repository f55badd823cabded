from halfsync.engine.engine cimport Engine
from halfsync.exchange.native_handler cimport Answerer
from halfsync.exchange.spool cimport Store
from halfsync.http.response_head cimport ServerFields
from halfsync.shared.slots cimport BoardRecord

# What the answers are made from. The first thing in it is all that the engine knows of it.
ctypedef struct Oracle:
    Answerer answerer
    ServerFields fields
    BoardRecord *board
    unsigned int max_stuck


cdef class Probes:
    cdef Engine *engine
    cdef Store *store
    cdef Oracle oracle
    cdef int read_fd
    cdef bint started
    cdef unsigned int forks   # `forks` of the process that started it
    cdef object kept          # what the pointers point to

    cdef int check(self, int result) except -1
