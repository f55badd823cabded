# When a connection's phase must end or make progress, and how fast its client must be. For the engine's thread.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Connection, Engine
from halfsync.engine.phases cimport (
    PHASE_HANDSHAKE, PHASE_IDLE, PHASE_LINGER, PHASE_SILENT, REQUEST_BODY, REQUEST_HEAD,
)
from halfsync.exchange.deadlines cimport (
    AWAITS_BODY, AWAITS_CLOSE, AWAITS_FIRST_BYTE, AWAITS_HANDSHAKE, AWAITS_HEAD, AWAITS_READING,
    AWAITS_REQUEST,
)


cdef inline int awaited_of(const Connection *connection) noexcept nogil:
    """Return what a connection waits for its client to do, in phases in which it does."""
    cdef int phase = connection.phase
    if phase == PHASE_IDLE:
        return AWAITS_REQUEST
    if phase == PHASE_SILENT:
        return AWAITS_FIRST_BYTE
    if phase == PHASE_HANDSHAKE:
        return AWAITS_HANDSHAKE
    if phase == PHASE_LINGER:
        return AWAITS_CLOSE
    phase = connection.request.phase
    if phase == REQUEST_HEAD:
        return AWAITS_HEAD
    return AWAITS_BODY if phase == REQUEST_BODY else AWAITS_READING


cdef int64_t deadline_of(Engine *engine, const Connection *connection) noexcept nogil
cdef int64_t next_check(Engine *engine, const Connection *connection) noexcept nogil
cdef void note_progress(Engine *engine, Connection *connection) noexcept nogil
cdef bint is_slow(Engine *engine, Connection *connection) noexcept nogil
