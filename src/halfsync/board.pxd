# What the processes of one server know of each other, in memory that they share: a seat for each of them.
from halfsync.native.sync cimport atomic_llong, atomic_uint

cdef enum SeatState:
    SEAT_EMPTY
    SEAT_BOOTING              # nobody is accepted yet
    SEAT_SERVING
    SEAT_LEAVING              # nobody is accepted any more

# Written by the process that has the seat; its supervisor clears it once that process has ended.
ctypedef struct SeatRecord:
    atomic_uint state         # SeatState
    atomic_uint open          # connections
    atomic_uint deaf          # newcomers are left to others, who have fewer connections
    atomic_uint stuck         # threads that met the deadline of their turn and are still in the application
    atomic_llong requests     # served
    # What a deaf process saw when it looked at its listeners; for itself only. Times are in ns, monotonic.
    long long look_at         # again
    long long waits_since     # somebody has waited at each look; 0: nobody did at the last one
    unsigned int neglected    # somebody has waited too long: whoever should accept does not
    char apart[80]            # from the next: two processes should not write to one cache line

# The seats follow it.
ctypedef struct BoardRecord:
    atomic_uint used          # seats, from the first on, that may be taken
    atomic_uint fading        # the server is about to end: it is not ready any more
    int bell_fd               # an eventfd that all processes watch
    char apart[116]

cdef class Board:
    cdef BoardRecord *record
    cdef readonly int size
    cdef object kept

cdef class Seat:
    cdef readonly Board board
    cdef SeatRecord *record
    cdef readonly int number

# Processes that serve, and have no more than so many stuck threads.
cdef unsigned int board_serving(BoardRecord *board, unsigned int max_stuck) noexcept nogil
cdef bint seat_listens(BoardRecord *board, SeatRecord *seat) noexcept nogil
cdef void seat_count(SeatRecord *seat, int change) noexcept nogil
# For a deaf process: whether to look if newcomers wait, and what was seen. Then `neglected` tells whether to accept them.
cdef bint seat_must_look(SeatRecord *seat, long long now) noexcept nogil
cdef void seat_saw(SeatRecord *seat, bint waiting, long long now) noexcept nogil
cdef bint is_knocked_at(int listener) noexcept nogil
