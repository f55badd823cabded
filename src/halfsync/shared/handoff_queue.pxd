# A connection on its way from a process that leaves to one that stays: a record, with the descriptor beside it.
from libc.stdint cimport uint8_t, uint32_t

from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.listening.endpoints cimport Endpoint

cdef enum:
    # Most bytes received and not framed. A record must fit into the queue's socket, by default 208 KiB, together with
    # some others. A connection with more stays here until the process has served what the client sent.
    HANDOFF_BYTES = 64 * 1024

# Results of handoff_send.
cdef enum HandoffSent:
    HANDOFF_SENT
    HANDOFF_LATER             # the queue is full, or memory is short
    HANDOFF_TOO_LONG          # the queue cannot take a record of this length, now or later
    HANDOFF_NO_READER         # no process can ever take it

# Results of handoff_take.
cdef enum HandoffTaken:
    HANDOFF_TAKEN
    HANDOFF_NONE
    HANDOFF_NO_DESCRIPTOR     # no descriptor is free: nothing was taken
    HANDOFF_INVALID           # it was not a record of this version; its descriptor is closed
    HANDOFF_NO_WRITER         # no process can put more records

ctypedef struct HandoffRecord:
    int fd                    # of the connection
    uint8_t awaits_proxy      # a PROXY header must come first, and is not complete yet
    uint8_t address_length
    uint8_t address[ADDRESS_BYTES]  # sockaddr of the peer, or of the client in its PROXY header
    Endpoint endpoint         # of the listener that accepted it
    uint32_t requests         # served on it so far
    const char *data          # received and not framed
    uint32_t length

# Send a connection's record to the queue's writing end. The descriptor stays open here. Never waits; any thread.
cdef int handoff_send(int queue, const HandoffRecord *handoff) noexcept nogil

# Take the next record from the queue's reading end. Its data will lie in `buffer`, of HANDOFF_BYTES. Never waits; any
# thread.
cdef int handoff_take(int queue, HandoffRecord *handoff, char *buffer) noexcept nogil
