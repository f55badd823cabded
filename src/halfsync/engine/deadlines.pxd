# When a connection's phase must end or make progress, and how fast its client must be. For the engine's thread.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Connection, Engine
from halfsync.engine.phases cimport (
    PHASE_BODY, PHASE_HANDSHAKE, PHASE_HEAD, PHASE_IDLE, PHASE_LINGER, PHASE_SILENT,
)
from halfsync.exchange.deadlines cimport (
    AWAITS_BODY, AWAITS_CLOSE, AWAITS_FIRST_BYTE, AWAITS_HEAD, AWAITS_READING, AWAITS_REQUEST,
)


cdef inline int awaited_in(int phase) noexcept nogil:
    """Return what a connection waits for its client to do, in a phase in which it does."""
    if phase == PHASE_IDLE:
        return AWAITS_REQUEST
    if phase == PHASE_SILENT or phase == PHASE_HANDSHAKE:
        return AWAITS_FIRST_BYTE
    if phase == PHASE_HEAD:
        return AWAITS_HEAD
    if phase == PHASE_BODY:
        return AWAITS_BODY
    return AWAITS_CLOSE if phase == PHASE_LINGER else AWAITS_READING


cdef int64_t deadline_of(Engine *engine, const Connection *connection) noexcept nogil
cdef int64_t next_check(Engine *engine, const Connection *connection) noexcept nogil
cdef void note_progress(Engine *engine, Connection *connection) noexcept nogil
cdef bint is_slow(Engine *engine, Connection *connection) noexcept nogil
