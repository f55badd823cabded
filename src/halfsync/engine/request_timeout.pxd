# Requests that wait too long for a worker, or whose application takes too long. Every function runs on the engine's
# thread.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Engine, Request

cdef enum:
    CHECK_AGAIN = 10000000    # ns; until the next look at a request that its worker holds, or has just given back

cdef int64_t waited_before(Engine *engine, Request *request) noexcept nogil
cdef void shed_overdue(Engine *engine) noexcept nogil
cdef int64_t check_queued(Engine *engine, Request *request) noexcept nogil
cdef int64_t check_turn(Engine *engine, Request *request) noexcept nogil
cdef int64_t check_response(Engine *engine, Request *request) noexcept nogil
