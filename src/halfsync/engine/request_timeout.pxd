# Requests that wait too long for a worker, or whose application takes too long. Every function runs on the engine's
# thread.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Engine, Request
from halfsync.pool.request_queue cimport queue_put

cdef enum:
    CHECK_AGAIN = 10000000    # ns; until the next look at a request that its worker holds, or has just given back

cdef int64_t waited_before(Engine *engine, Request *request) noexcept nogil
cdef int64_t put_in_lane(Engine *engine, Request *request) noexcept nogil

cdef inline int64_t enqueue(Engine *engine, Request *request) noexcept nogil:
    """Put a complete request into the queue. Returns as queue_put."""
    if engine.lane_rules == NULL:
        return queue_put(engine.queue, request, engine.now, waited_before(engine, request))
    return put_in_lane(engine, request)

cdef void shed_overdue(Engine *engine) noexcept nogil
cdef int64_t check_queued(Engine *engine, Request *request) noexcept nogil
cdef int64_t check_turn(Engine *engine, Request *request) noexcept nogil
cdef int64_t check_response(Engine *engine, Request *request) noexcept nogil
