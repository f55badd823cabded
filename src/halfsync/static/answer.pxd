# The answer to a request for a file, made in a buffer of whoever asks.
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_handler cimport NativeHandler, NativeResponse
from halfsync.static.files cimport Files

cdef bint answer_request(
    const NativeHandler *native_handler, Exchange *exchange, bint stays, char *buffer,
    NativeResponse *answer) noexcept nogil


cdef class StaticFiles:
    cdef Files files
    cdef readonly object capsule   # of the NativeHandler: what a model takes it by, and keeps it alive by
    cdef object pinned             # what the pointers point to
