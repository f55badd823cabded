# The engine's own answers. Every function runs on the engine's thread.
from libc.stdint cimport int64_t, uint32_t

from halfsync.engine.engine cimport Engine, Request
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_handler cimport NativeResponse
from halfsync.exchange.outbox cimport Outbox

cdef void start_sending(Engine *engine, Request *request) noexcept nogil
cdef Outbox *outbox_with(Engine *engine, const char *data, int64_t length) noexcept nogil
cdef void give_outbox(Engine *engine, Request *request, Outbox *outbox) noexcept nogil
cdef void end_unsent(Engine *engine, Request *request) noexcept nogil
cdef void refuse(Engine *engine, Request *request, int status, int reason) noexcept nogil
cdef void send_refusal(Engine *engine, Request *request, Exchange *exchange, int status,
                       int reason) noexcept nogil
cdef bint may_stay_after(Engine *engine, const Request *request, uint32_t requests) noexcept nogil
cdef int shed(Engine *engine, Request *request, int outcome, int reason) noexcept nogil
cdef int cut_stream(Engine *engine, Request *request, int reason) noexcept nogil
cdef int send_native_response(Engine *engine, Request *request, const NativeResponse *answer, bint stays) noexcept nogil
