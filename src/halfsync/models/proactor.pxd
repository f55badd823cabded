from halfsync.bridging cimport Bridge
from halfsync.engine.engine cimport Engine
from halfsync.models.workers cimport RequestWorkers
from halfsync.spool cimport Store


cdef class Proactor:
    cdef Engine *engine
    cdef Store *store
    cdef RequestWorkers workers
    cdef object kept          # what the engine's records point to, for as long as it may use them
    cdef int read_fd          # a pipe's reading end: readable when the engine has ended
    cdef bint started
    cdef bint joined
