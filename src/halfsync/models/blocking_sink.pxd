# The way of a response out of a thread that may block for its client.
from libc.stdint cimport int64_t

from halfsync.bridging cimport Sink

# It lives on the stack of the thread that runs the turn.
ctypedef struct BlockingSink:
    Sink sink                 # first: the bridge sees only this
    int fd
    int stop_fd               # readable once the server stops: then nobody waits for a client any more
    int64_t timeout           # ns; the client must take something within it
    bint gone                 # the client is, or took nothing for too long, or the file is shorter than was promised

cdef void blocking_sink(BlockingSink *sink, int fd, int stop_fd, int64_t timeout) noexcept nogil
cdef int sink_bytes(BlockingSink *sink, const char *data, size_t length) noexcept nogil
