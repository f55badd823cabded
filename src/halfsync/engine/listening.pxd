# The engine's listeners. The callbacks and the functions run on the engine's thread, or while it does not run.
from libc.stdint cimport uint32_t

from halfsync.engine.engine cimport Engine
from halfsync.engine.poller cimport Handle

cdef enum:
    LISTENER_INDEX = 0xFFFF0000  # of the first listener's handle; the others follow

# Callbacks of the poller: see PollerUser.
cdef bint on_acceptable(void *engine_, Handle *listener) noexcept nogil
cdef bint on_accepted(void *engine_, Handle *listener, int fd, const void *address, uint32_t length) noexcept nogil
cdef void on_accept_failed(void *engine_, Handle *listener, int error) noexcept nogil
cdef void on_adoptable(void *engine_) noexcept nogil

cdef int engine_listen(Engine *engine, int fd) noexcept nogil
cdef void watch_listeners(Engine *engine) noexcept nogil
cdef void empty_backlog(Engine *engine) noexcept nogil
cdef void engine_close_listeners(Engine *engine) noexcept nogil
