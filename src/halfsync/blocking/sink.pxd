# The way of a response out of a thread that may block for its client.
from libc.stdint cimport int64_t

from halfsync.exchange.bridging cimport Sink
from halfsync.exchange.rates cimport Pace
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.native.gate cimport Gate
from halfsync.transport.transport cimport Transport

# It lives on the stack of the thread that runs the turn.
ctypedef struct BlockingSink:
    Sink sink                 # first: the bridge sees only this
    Transport *transport
    int stop_fd               # readable once the server stops: then nobody waits for a client any more
    const Timeouts *timeouts
    int64_t sent_ns           # when something was last sent
    int64_t sent              # bytes that the socket took
    int64_t taken             # of those, what the client had acknowledged at the last look
    int64_t waited            # ns of waiting for the client: the clock that its pace is judged by
    Pace pace
    bint probed               # the client, whether it is still there
    bint gone                 # the client is, or took nothing for too long, or the file is shorter than was promised

cdef void blocking_sink(
    BlockingSink *sink, Transport *transport, int stop_fd, const Timeouts *timeouts, Gate *gate) noexcept nogil
cdef int sink_bytes(BlockingSink *sink, const char *data, size_t length) noexcept nogil
