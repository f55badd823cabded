# React to what happens on a connection. Every function runs on the engine's thread.
from halfsync.engine.engine cimport Connection, Engine, Request
from halfsync.engine.poller cimport Handle
from halfsync.exchange.outbox cimport Outbox

cdef char *on_room(void *engine, Handle *handle, size_t *room) noexcept nogil
cdef int on_received(void *engine, Handle *handle, char *data, ssize_t length) noexcept nogil
cdef void on_hangup(void *engine, Handle *handle, bint broken) noexcept nogil
cdef void on_sendable(void *engine, Handle *handle) noexcept nogil
cdef void on_returned(Engine *engine, Request *request) noexcept nogil
cdef void on_announced(Engine *engine, Outbox *outbox) noexcept nogil
cdef void on_timer(Engine *engine, Connection *connection) noexcept nogil

# Begin the handshake of a new connection. Returns True if it is done already.
cdef bint shake_hands(Engine *engine, Connection *connection) noexcept nogil
