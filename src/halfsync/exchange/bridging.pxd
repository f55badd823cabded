# Between a model and the application: where a turn comes from, and where its response goes.
from libc.stdint cimport int64_t, uint8_t, uint16_t
from posix.uio cimport iovec

from halfsync.exchange.exchange cimport Exchange
from halfsync.http.response_head cimport ServerFields
from halfsync.native.gate cimport Gate, gate_enter, gate_leave
from halfsync.shared.activity cimport ActivityRef, ActivityRow

cdef enum:
    GIL_KEPT_BYTES = 64 * 1024  # more than this at once is sent without the GIL

# Where a request came from.
ctypedef struct Origin:
    const uint8_t *address    # sockaddr of the peer
    uint8_t address_length
    uint16_t listener         # index of the listener, in the table of endpoints

# Where a response goes. Each model supplies a sink for each request. The thread that runs the request calls its
# functions, without the GIL unless `gil_held` is set. The functions that send return 0, or -1 if the client is gone.
ctypedef struct Sink:
    int (*send)(Sink *sink, iovec *vectors, int count) noexcept nogil
    # Takes over the descriptor, whatever it returns.
    int (*send_file)(Sink *sink, const char *head, int64_t head_length, int fd, int64_t offset,
                     int64_t length) noexcept nogil
    bint (*is_disconnected)(Sink *sink) noexcept nogil  # returns at once whether the client is known to be gone
    Gate *gate                # passed before the GIL is taken again after a call; NULL: none
    bint waits                # sending may block or take long: the caller should not hold the GIL
    bint gil_held             # the caller of this call holds the GIL: the call must not wait for the client
    bint whole                # the rest of the response already exists, so waiting for the client saves nothing
    bint stays                # the connection may serve another request; cleared for Connection: close


cdef inline int send_vectors(Sink *sink, iovec *vectors, int count, int64_t total) noexcept:
    """Give `total` bytes to a sink, without the GIL if that may take long. Returns what the sink returns."""
    cdef int result
    cdef int64_t since
    sink.gil_held = not sink.waits and total <= GIL_KEPT_BYTES
    if sink.gil_held:
        return sink.send(sink, vectors, count)
    with nogil:
        result = sink.send(sink, vectors, count)
        since = gate_enter(sink.gate)
    gate_leave(sink.gate, since)
    return result


# How a turn ended.
cdef enum TurnEnd:
    TURN_COMPLETE             # the response is whole
    TURN_CUT                  # it broke off, and its framing shows that
    TURN_RESET                # it broke off, and only a reset of the connection shows that

# Send an error page as the whole response, without making a Python object. began: the bridge's. Returns a TurnEnd.
cdef int send_error(Exchange *exchange, Sink *sink, const ServerFields *fields, unsigned int began,
                    int status) noexcept


cdef class Bridge:
    cdef readonly bint raw    # it speaks no HTTP: whatever was received is a turn
    cdef unsigned int began   # `copies` of the process that serves
    cdef unsigned int pid     # of that process
    cdef ActivityRef activity  # where turns are noted
    cdef object pinned        # what it points to

    # For models.
    cdef int run(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1
    cdef int refuse(self, Exchange *exchange, Sink *sink, int status) noexcept
    cdef void discard_state(self, void *app_state) noexcept
    # For subclasses to implement, and to call.
    cdef int do_turn(self, Exchange *exchange, const Origin *origin, Sink *sink, double waited_s) except -1
    cdef void do_discard_state(self, void *app_state) noexcept
    cdef ActivityRow *note_turn(self, const Exchange *exchange, const Origin *origin) noexcept
    cdef void note_client(self, const Exchange *exchange) noexcept
    cdef void exit_forked_copy_with(self, object error) noexcept
