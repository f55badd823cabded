# The deadlines and least rates of a connection and its requests, for every model: see native_settings.pyx.
from libc.stdint cimport int64_t

ctypedef struct Timeouts:     # ns
    int64_t first_byte
    int64_t head
    int64_t body              # between two pieces
    int64_t request           # from its first byte to the last of its body; 0: for ever
    int64_t queue             # until a worker takes a request; 0: for ever
    int64_t turn              # of the application; 0: for ever
    int64_t write
    int64_t keep_alive
    int64_t linger
    int64_t newcomer          # that a server which drains waits for the first byte of a client, from its connecting
    int64_t window            # over which a client's pace is judged
    int64_t least_received    # bytes of a body in a window
    int64_t least_taken       # bytes of a response in a window
