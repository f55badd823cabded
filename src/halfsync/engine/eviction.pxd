# Make room for a new connection when all are taken. For the engine's thread.
from halfsync.engine.engine cimport Connection, Engine

cdef Connection *eviction_choose(Engine *engine) noexcept nogil
cdef void eviction_close(Engine *engine, Connection *connection) noexcept nogil
