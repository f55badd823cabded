# Requests past the deadline of the queue or of the application. Every function runs on the engine's thread.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Connection, Engine

cdef enum:
    CHECK_AGAIN = 10000000    # ns; until the next look at a connection that its worker holds, or has just given back

cdef int64_t check_queued(Engine *engine, Connection *connection) noexcept nogil
cdef int64_t check_turn(Engine *engine, Connection *connection) noexcept nogil
cdef int64_t check_response(Engine *engine, Connection *connection) noexcept nogil
