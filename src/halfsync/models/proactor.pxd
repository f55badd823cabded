from halfsync.engine.engine cimport Engine
from halfsync.request_queue cimport QueueSlot
from halfsync.spool cimport Store
from halfsync.threadpool cimport WorkerThreads
from halfsync.bridging cimport Bridge


cdef class RequestWorkers(WorkerThreads):
    cdef Engine *engine
    cdef Bridge bridge
    cdef bint keep_alive
    cdef object kept          # what the engine's records point to, for as long as a thread may use them
    cdef readonly unsigned long dropped   # requests not run since their client had left; guarded by the GIL

    cdef int turn(self, QueueSlot *slot) except -1


cdef class Proactor:
    cdef Engine *engine
    cdef Store *store
    cdef RequestWorkers workers
    cdef object kept          # what the engine's records point to, for as long as it may use them
    cdef int read_fd          # a pipe's reading end: readable when the engine has ended
    cdef bint started
    cdef bint joined
