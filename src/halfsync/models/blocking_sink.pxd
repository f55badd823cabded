# The way of a response out of a thread that may block for its client.
from libc.stdint cimport int64_t

from halfsync.bridging cimport Sink

# It lives on the stack of the thread that runs the turn.
ctypedef struct BlockingSink:
    Sink sink                 # first: the bridge sees only this
    int fd
    int stop_fd               # readable once the server stops: then nobody waits for a client any more
    int64_t timeout           # ns; the client must take something within it
    bint gone                 # the client is, or took nothing for too long
    bint short_file           # a file became shorter while it was sent: the client must see a reset

cdef void blocking_sink(BlockingSink *sink, int fd, int stop_fd, int64_t timeout) noexcept nogil
cdef int sink_bytes(BlockingSink *sink, const char *data, size_t length) noexcept nogil
