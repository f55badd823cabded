# Handshakes whose steps compute, done by threads of their own: see the .pyx.
from halfsync.engine.engine cimport Engine, Request

cdef enum:
    HANDSHAKES_WAITING_MAX = 1024  # for a thread; about a second of handshakes that compute for a ms

cdef int handshakes_begin(Engine *engine) noexcept nogil
cdef void handshakes_end(Engine *engine) noexcept nogil
cdef bint handshake_submit(Engine *engine, Request *request) noexcept nogil
