# The table of connections.
from libc.stdint cimport uint32_t

from halfsync.engine.engine cimport Connection, Engine
from halfsync.transport.transport cimport TransportProfile

cdef Connection *connection_open(
    Engine *engine, int fd, const TransportProfile *profile, bint adopted) noexcept nogil
cdef void connection_detach(Engine *engine, Connection *connection) noexcept nogil
cdef void connection_close_socket(Engine *engine, Connection *connection) noexcept nogil
cdef void connection_free(Engine *engine, Connection *connection) noexcept nogil
cdef void connection_close(Engine *engine, Connection *connection) noexcept nogil
cdef Connection *connection_at(Engine *engine, uint32_t index) noexcept nogil
cdef void connections_free(Engine *engine) noexcept nogil
