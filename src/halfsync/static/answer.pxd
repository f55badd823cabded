# Answer a request for a file, in a buffer of the caller.
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_handler cimport NativeHandler, NativeResponse

cdef bint answer_request(
    const NativeHandler *native_handler, Exchange *exchange, bint stays, char *buffer,
    NativeResponse *answer) noexcept nogil
