cimport cython
from libc.stdint cimport int64_t
from posix.uio cimport iovec

from halfsync.exchange.bridging cimport Sink
from halfsync.exchange.exchange cimport Exchange
from halfsync.http.response_head cimport ServerFields
from halfsync.wsgi.file_wrapper cimport FileWrapper
from halfsync.wsgi.head_buffer cimport HeadBuffer
from halfsync.wsgi.start_response cimport FieldText


@cython.final
cdef class Response:
    cdef Exchange *exchange   # NULL: the request is over
    cdef Sink *sink
    cdef const ServerFields *fields
    cdef unsigned int began   # `copies` of the process that serves
    cdef unsigned long thread  # the thread that runs the turn
    cdef bint started         # start_response was called
    cdef bint head_sent
    cdef bint ended           # the application has returned all of it or failed: its calls now send nothing
    cdef bint finished        # the end is sent
    cdef bint bodiless        # to HEAD, or with 204 or 304
    cdef bint chunked
    cdef bint has_date        # the application set it
    cdef bint has_server
    cdef bint closes          # the application has sent Connection: close
    cdef bint full            # all of Content-Length, or a head without a body, was sent: drop the rest
    cdef bint gone            # the client is gone
    cdef int64_t promised     # the body's bytes by Content-Length; -1: it was not set
    cdef int64_t sent         # bytes of the body sent
    cdef HeadBuffer head      # the rendered head

    cdef int check_open(self, str call) except -1
    cdef bint start(self, str status, list headers, object exc_info) except -1
    cdef bint begin(self, str status, list headers) except -1
    cdef bint note_field(self, const FieldText *field, object item, int code) except -1
    cdef int finish_head(self, int64_t whole) except -1
    cdef int answer(self, object result) except -1
    cdef int answer_list(self, object chunks) except -1
    cdef int answer_file(self, FileWrapper wrapper) except -1
    cdef int send_body(self, bytes data, int64_t whole) except -1
    cdef int send_piece(self, const char *data, int64_t length, bint first) except -1
    cdef int transmit(self, iovec *vectors, int count) except -1
    cdef int finish(self) except -1
    cdef int fail(self) noexcept
    cdef void close(self) noexcept

cdef Response response_for(Exchange *exchange, Sink *sink, const ServerFields *fields, unsigned int began)
