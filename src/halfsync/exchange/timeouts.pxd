# The deadlines and minimum rates of a connection and its requests, for every model: see native_settings.pyx.
from libc.stdint cimport int64_t

ctypedef struct Timeouts:     # ns
    int64_t handshake         # of the transport, the client's silence before it included
    int64_t first_byte
    int64_t head
    int64_t body              # between two pieces
    int64_t request           # from its first byte to the last of its body; 0: no limit
    int64_t queue             # until a worker takes a request; 0: no limit
    int64_t turn              # of the application; 0: no limit
    int64_t write
    int64_t keep_alive
    int64_t linger
    int64_t newcomer          # time from connect in which a draining server waits for a client's first byte
    int64_t window            # over which a client's pace is judged
    int64_t least_received    # bytes of a body in a window
    int64_t least_taken       # bytes of a response in a window
