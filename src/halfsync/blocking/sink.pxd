# Send a response from a thread that may block for its client.
from libc.stdint cimport int64_t

from halfsync.exchange.bridging cimport Sink
from halfsync.exchange.outcome cimport Outcome
from halfsync.exchange.rates cimport Pace
from halfsync.exchange.timeline cimport Timeline
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.native.gate cimport Gate
from halfsync.transport.transport cimport Transport

# It is on the stack of the thread that answers the request.
ctypedef struct BlockingSink:
    Sink sink                 # first: the bridge sees only this
    Transport *transport
    int stop_fd               # readable once the server stops: then no thread may wait for a client
    const Timeouts *timeouts
    Timeline *timeline        # of the request; NULL: nothing of one was received
    int64_t sent_ns           # when something was last sent
    int64_t sent              # bytes that the socket took
    int64_t taken             # those of them that the client had acknowledged at the last check
    int64_t waited            # ns of waiting for the client: the clock of its pace
    Pace pace
    bint probed               # whether the client is still there was probed
    bint gone                 # the client is gone or too slow, or the file is shorter than promised
    Outcome outcome           # which of them; NONE: the client is gone

cdef void blocking_sink(
    BlockingSink *sink, Transport *transport, int stop_fd, const Timeouts *timeouts, Timeline *timeline,
    Gate *gate) noexcept nogil
cdef int sink_bytes(BlockingSink *sink, const char *data, size_t length) noexcept nogil
