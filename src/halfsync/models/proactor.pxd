from halfsync.engine.engine cimport Engine
from halfsync.observe.access cimport AccessLog
from halfsync.request_queue cimport QueueSlot
from halfsync.spool cimport Store
from halfsync.threadpool cimport WorkerThreads
from halfsync.wsgi.bridge cimport Bridge


cdef class RequestWorkers(WorkerThreads):
    cdef Engine *engine
    cdef Bridge bridge
    cdef bint keep_alive
    cdef readonly unsigned long dropped   # requests not run since their client had left; guarded by the GIL

    cdef int turn(self, QueueSlot *slot) except -1


cdef class Proactor:
    cdef Engine *engine
    cdef Store *store
    cdef RequestWorkers workers
    cdef AccessLog access_log  # kept for as long as the engine may write to it
    cdef int read_fd          # a pipe's reading end: readable when the engine has ended
    cdef bint started
    cdef bint joined
