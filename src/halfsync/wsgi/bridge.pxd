from libc.stdint cimport int64_t
from posix.uio cimport iovec

from halfsync.exchange cimport Exchange
from halfsync.wsgi.body cimport FileWrapper
from halfsync.wsgi.environ cimport EnvironFactory, Origin


# Where a response goes. Each model supplies one for each request; its functions are called by the thread that runs the
# request, without the GIL unless `gil_held` is set. They return 0, or -1 when the client is gone.
ctypedef struct Sink:
    int (*send)(Sink *sink, iovec *vectors, int count) noexcept nogil
    # Takes the descriptor over, whatever it returns.
    int (*send_file)(Sink *sink, const char *head, int64_t head_length, int fd, int64_t offset,
                     int64_t length) noexcept nogil
    bint waits                # sending may block or take long: the caller had better not hold the GIL
    bint gil_held             # by the caller of this call: it must not wait for the client
    bint stays                # the connection may serve another request; cleared for Connection: close

# How a turn ended.
cdef enum TurnEnd:
    TURN_COMPLETE             # the response is whole
    TURN_CUT                  # it broke off, and its framing shows that
    TURN_RESET                # it broke off, and only a reset of the connection shows that


cdef class Bridge:
    cdef object application
    cdef EnvironFactory environs
    cdef bint server_header

    cdef int run(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1


cdef class Response:
    cdef Bridge bridge
    cdef Exchange *exchange   # NULL: the request is over
    cdef Sink *sink
    cdef unsigned long thread  # that runs the turn
    cdef bint started         # start_response was called
    cdef bint head_sent
    cdef bint finished        # the end is sent
    cdef bint bodiless        # to HEAD, or with 204 or 304
    cdef bint chunked
    cdef bint has_date        # the application set it
    cdef bint has_server
    cdef bint full            # all that Content-Length promised, or a head without a body, was sent: drop the rest
    cdef bint gone            # the client is
    cdef int64_t promised     # bytes of the body as Content-Length said; -1: it was not set
    cdef int64_t sent         # bytes of the body
    cdef char *head           # the rendered head; in the exchange's free room, or allocated
    cdef int64_t head_length
    cdef int64_t head_capacity
    cdef bint head_allocated

    cdef int begin(self, str status, list headers) except -1
    cdef int begin_field(self, object item, int code) except -1
    cdef int end_head(self, int64_t whole) except -1
    cdef int put(self, const char *data, int64_t length) except -1
    cdef char *room(self, int64_t length) except NULL
    cdef int answer(self, object result) except -1
    cdef int answer_list(self, object chunks) except -1
    cdef int answer_file(self, FileWrapper wrapper) except -1
    cdef int send_body(self, bytes data, int64_t whole) except -1
    cdef int transmit(self, iovec *vectors, int count) except -1
    cdef int finish(self) except -1
    cdef int fail(self) except -1
    cdef void close(self) noexcept
