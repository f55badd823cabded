# Limit the connections of each client. Both functions run on the engine's thread.
from halfsync.engine.engine cimport Connection, Engine

cdef bint admit(Engine *engine, Connection *connection) noexcept nogil
cdef int reject(Engine *engine, Connection *connection) noexcept nogil
