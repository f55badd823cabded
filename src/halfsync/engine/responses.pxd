# The engine's own answers. Every function runs on the engine's thread.
from halfsync.engine.engine cimport Connection, Engine
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_handler cimport NativeResponse

cdef void start_sending(Engine *engine, Connection *connection) noexcept nogil
cdef void refuse(Engine *engine, Connection *connection, int status, const char *reason) noexcept nogil
cdef void send_refusal(Engine *engine, Connection *connection, Exchange *exchange, int status) noexcept nogil
cdef int shed(Engine *engine, Connection *connection, const char *reason) noexcept nogil
cdef int cut_stream(Engine *engine, Connection *connection, const char *reason) noexcept nogil
cdef int send_native_response(Engine *engine, Connection *connection, const NativeResponse *answer,
                              bint stays) noexcept nogil
