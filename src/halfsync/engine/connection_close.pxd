# Begin a phase of a connection or of its request, and end a connection. Every function runs on the engine's thread.
from halfsync.engine.engine cimport Connection, Engine, Request
from halfsync.exchange.exchange cimport Exchange

cdef void enter_phase(Engine *engine, Connection *connection, int phase) noexcept nogil
cdef void enter_request_phase(Engine *engine, Request *request, int phase) noexcept nogil
cdef void note_outcome(Request *request, int outcome, int reason) noexcept nogil
cdef void close_now(Engine *engine, Connection *connection) noexcept nogil
cdef void save_app_state(Request *request, Exchange *exchange) noexcept nogil
cdef void notify_closed(Engine *engine, Connection *connection) noexcept nogil
cdef void client_disconnected(Engine *engine, Connection *connection) noexcept nogil
cdef void linger(Engine *engine, Connection *connection) noexcept nogil
cdef void finish_sending(Engine *engine, Connection *connection) noexcept nogil
