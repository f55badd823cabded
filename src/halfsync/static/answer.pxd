# The answer to a request for a file, made in a buffer of whoever asks.
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.native_handler cimport Answer, Answerer
from halfsync.static.files cimport Files

cdef bint answer_request(
    const Answerer *answerer, Exchange *exchange, bint stays, char *buffer, Answer *answer) noexcept nogil


cdef class StaticFiles:
    cdef Files files
    cdef readonly object capsule   # of the Answerer: what a model takes it by, and keeps it alive by
    cdef object kept               # what the pointers point to
