# What the processes of one server know of each other, in memory that they share, and who of them accepts: see
# scoreboard.pyx.
# All of it is inline, so that no module is loaded where there is one process only.
from posix.unistd cimport write

from halfsync.native.sync cimport (
    add_uint, atomic_llong, atomic_uint, load_uint, store_uint, sub_uint, swap_uint,
)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout_ms)
    const short POLLIN

cdef enum:
    SPARE = 2                 # connections that each process may have beyond a quarter more than its share
    LOOK_NS = 20000000        # between two looks of a deaf process at who waits
    NEGLECT_NS = 100000000

# Some of the listeners of a process, by their position: a bit each, and one bit for all from ALONE_BITS - 1 on.
ctypedef long long Alone

cdef enum:
    ALONE_BITS = 63

cdef inline Alone alone_bit(int position) noexcept nogil:
    return <Alone> 1 << min(position, ALONE_BITS - 1)

cdef inline bint is_alone(Alone alone, int position) noexcept nogil:
    return (alone & alone_bit(position)) != 0

cdef inline Alone alone_of(object positions) except -1:
    cdef Alone alone = 0
    for position in positions:
        alone |= alone_bit(position)
    return alone

cdef enum SeatState:
    SEAT_EMPTY
    SEAT_BOOTING              # nobody is accepted yet
    SEAT_SERVING
    SEAT_LEAVING              # nobody shall be accepted any more
    SEAT_LEFT                 # nobody is: the listeners are closed

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

# A seat and its board: what a seat's capsule ("halfsync.seat") points to.
ctypedef struct Place:
    BoardRecord *board
    SeatRecord *seat


cdef inline SeatRecord *seat_at(BoardRecord *board, unsigned int index) noexcept nogil:
    return <SeatRecord *> (board + 1) + index


cdef inline bint is_sated(BoardRecord *board, SeatRecord *seat) noexcept nogil:
    """Tell whether one more connection would be more than this process's share, somewhat generously measured."""
    cdef unsigned int used = load_uint(&board.used)
    cdef unsigned long long serving = 0, total = 0
    cdef unsigned int index
    cdef SeatRecord *other
    for index in range(used):
        other = seat_at(board, index)
        if load_uint(&other.state) == SEAT_SERVING:
            serving += 1
            total += load_uint(&other.open)
    # open + 1 > 5/4 total/serving + SPARE
    return (<unsigned long long> load_uint(&seat.open) + 1) * serving * 4 > total * 5 + SPARE * serving * 4


cdef inline bint others_are_deaf(BoardRecord *board, SeatRecord *seat) noexcept nogil:
    cdef unsigned int index
    cdef SeatRecord *other
    for index in range(load_uint(&board.used)):
        other = seat_at(board, index)
        if other != seat and load_uint(&other.deaf) and load_uint(&other.state) == SEAT_SERVING:
            return True
    return False


cdef inline void ring_bell(BoardRecord *board) noexcept nogil:
    cdef unsigned long long one = 1
    write(board.bell_fd, &one, sizeof(one))


cdef inline unsigned int board_serving(BoardRecord *board, unsigned int max_stuck) noexcept nogil:
    cdef unsigned int index
    cdef unsigned int serving = 0
    cdef SeatRecord *seat
    for index in range(load_uint(&board.used)):
        seat = seat_at(board, index)
        if load_uint(&seat.state) == SEAT_SERVING and load_uint(&seat.stuck) <= max_stuck:
            serving += 1
    return serving


cdef inline bint seat_listens(BoardRecord *board, SeatRecord *seat) noexcept nogil:
    """Tell whether this process shall accept newcomers now, and note it for the others.

    One that becomes deaf says so before it looks a last time, and those who count a connection do so before they look
    who is deaf: so of two that look at once, one sees the other.
    """
    if load_uint(&seat.state) != SEAT_SERVING:
        return False
    if not is_sated(board, seat):
        store_uint(&seat.deaf, 0)
        seat.waits_since = seat.neglected = 0
        return True
    if swap_uint(&seat.deaf, 1) == 0:
        if others_are_deaf(board, seat):
            ring_bell(board)
        if not is_sated(board, seat):
            store_uint(&seat.deaf, 0)
            return True
    return False


cdef inline void seat_leave(SeatRecord *seat) noexcept nogil:
    """Say that this process shall accept nobody any more; that it does not remains said."""
    if load_uint(&seat.state) != SEAT_LEFT:
        store_uint(&seat.state, SEAT_LEAVING)


cdef inline void seat_left(SeatRecord *seat) noexcept nogil:
    """Say that this process has closed its listeners."""
    store_uint(&seat.state, SEAT_LEFT)


cdef inline bint seat_must_look(SeatRecord *seat, long long now) noexcept nogil:
    return load_uint(&seat.state) == SEAT_SERVING and now >= seat.look_at


cdef inline void seat_saw(SeatRecord *seat, bint waiting, long long now) noexcept nogil:
    """Note whether somebody waits who is left to other processes."""
    seat.look_at = now + LOOK_NS
    if not waiting:
        seat.waits_since = 0
    elif seat.waits_since == 0:
        seat.waits_since = now
    seat.neglected = waiting and now - seat.waits_since >= NEGLECT_NS


cdef inline bint is_knocked_at(int listener) noexcept nogil:
    """Tell whether a connection waits in a listener's backlog."""
    cdef pollfd asked
    asked.fd = listener
    asked.events = POLLIN
    asked.revents = 0
    return poll(&asked, 1, 0) == 1


cdef inline void seat_count(SeatRecord *seat, int change) noexcept nogil:
    """Count a connection that begins (1) or has ended (-1)."""
    if change > 0:
        add_uint(&seat.open, 1)
    else:
        sub_uint(&seat.open, 1)
