# When a connection's phase must end or make progress, and how fast its client must be. For the engine's thread.
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport Connection, Engine

cdef int64_t deadline_of(Engine *engine, const Connection *connection) noexcept nogil
cdef int64_t next_check(Engine *engine, const Connection *connection) noexcept nogil
cdef void note_progress(Engine *engine, Connection *connection) noexcept nogil
cdef bint is_slow(Engine *engine, Connection *connection) noexcept nogil
