# One connection on its way from a process that leaves to one that stays: a record, and the descriptor beside it.
from libc.stdint cimport uint8_t, uint32_t

from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.listening.endpoints cimport Endpoint

cdef enum:
    # Received and not framed, at most: a record must fit into the queue's socket, by default 208 KiB, together with
    # some others. A connection with more stays, and serves what it has sent.
    HANDOFF_BYTES = 64 * 1024

# What became of a record that was sent.
cdef enum HandoffSent:
    HANDOFF_SENT
    HANDOFF_LATER             # the queue is full, or memory is short
    HANDOFF_TOO_LONG          # the queue cannot take a record of this length, now or later
    HANDOFF_NO_READER         # nobody can ever take it

# What came of looking into the queue.
cdef enum HandoffTaken:
    HANDOFF_TAKEN
    HANDOFF_NONE
    HANDOFF_NO_DESCRIPTOR     # no descriptor is free: nothing was taken
    HANDOFF_INVALID           # it was no record of this version; its descriptor is closed
    HANDOFF_NO_WRITER         # nobody can put any more

ctypedef struct HandoffRecord:
    int fd                    # of the connection
    uint8_t awaits_proxy      # it must begin with a PROXY header, which is not complete yet
    uint8_t address_length
    uint8_t address[ADDRESS_BYTES]  # sockaddr of the peer, or of the client that its PROXY header told
    Endpoint endpoint         # of the listener that it came by
    uint32_t requests         # served on it so far
    const char *data          # received, and not framed
    uint32_t length

# Send a connection's record through the queue's writing end. The descriptor stays open here. Never waits; any thread.
cdef int handoff_send(int queue, const HandoffRecord *handoff) noexcept nogil

# Take the next record from the queue's reading end. Its data will lie in buffer, of HANDOFF_BYTES. Never waits; any
# thread.
cdef int handoff_take(int queue, HandoffRecord *handoff, char *buffer) noexcept nogil
