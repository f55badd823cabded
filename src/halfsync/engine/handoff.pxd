# Hand connections off to another process. Every function runs on the engine's thread, or while it does not run.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Connection, Engine

cdef int handoff_open(Engine *engine, int queue) noexcept nogil
cdef void handoff_close(Engine *engine) noexcept nogil
cdef bint handoff_connection(Engine *engine, Connection *connection) noexcept nogil
cdef int64_t handoff_wait(Engine *engine) noexcept nogil
