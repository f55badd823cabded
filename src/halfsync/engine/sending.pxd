# Send what an outbox holds. For the engine's thread.
from halfsync.engine.engine cimport Engine, Request

# Send while the socket takes it, but not for long. Returns True once all of the response is sent and the connection
# stays: the caller goes on with its next request. Otherwise this may have freed the connection.
cdef bint send_outbox(Engine *engine, Request *request) noexcept nogil
