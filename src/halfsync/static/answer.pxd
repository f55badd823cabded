# Answer a request for a file, in a buffer of the caller.
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_handler cimport NativeHandler, NativeResponse
from halfsync.static.files cimport Files

cdef bint answer_request(
    const NativeHandler *native_handler, Exchange *exchange, bint stays, char *buffer,
    NativeResponse *answer) noexcept nogil


cdef class StaticFiles:
    cdef Files files
    cdef readonly object capsule   # of the NativeHandler: gives it to a model, and keeps it alive
    cdef object pinned             # what the pointers point to
