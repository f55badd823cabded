# Responses of the engine's own that do not end by themselves, and get more every FEED_NS. On the engine's thread.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Engine, Request
from halfsync.exchange.native_handler cimport NativeResponse

cdef int feed_begin(Engine *engine, Request *request, const NativeResponse *answer) noexcept nogil
cdef void feeds_continue(Engine *engine) noexcept nogil
cdef void feeds_end(Engine *engine) noexcept nogil


cdef inline int64_t feeds_wait(const Engine *engine) noexcept nogil:
    """Return how long the engine may wait until feeds are due, in ns. For an engine that has some."""
    return max(engine.feeds_due - engine.now, <int64_t> 0)
