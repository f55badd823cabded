# Take connections from a process that leaves. Every function runs on the engine's thread, or while it does not run.
from halfsync.engine.engine cimport Engine

cdef enum:
    ADOPTION_INDEX = 0xFFFFFFFE  # of the queue's handle; distinct from those of connections and listeners

cdef int adoption_open(Engine *engine, int queue) noexcept nogil
cdef void adoption_close(Engine *engine) noexcept nogil
cdef void adoption_watch(Engine *engine, bint wanted) noexcept nogil
cdef bint adopt_one(Engine *engine) noexcept nogil
cdef void adopt_all(Engine *engine) noexcept nogil
