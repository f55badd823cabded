"""The board: a page of memory that the processes of one server share, with a seat for each.

It is there so that load is even. All processes accept from the same listening sockets, and the kernel wakes one that
sleeps, mostly the same one; so a process that has more than its share of the connections leaves newcomers to the others
(it is deaf), and listens again when it has not. The process with the fewest is never deaf for long: whoever becomes
deaf rings a bell, at which all look again. No process waits for another, and one that dies holds nothing up: its
supervisor clears its seat.

One that lives and does not accept, since it is stopped or its application keeps the GIL, would have newcomers wait for
it. So a deaf process looks at its listeners now and then; where somebody has waited at each look for NEGLECT_NS it
accepts, whatever its share.
"""
import os
from mmap import mmap

from posix.unistd cimport write

from halfsync.native.sync cimport (
    add_llong, add_uint, init_llong, init_uint, load_llong, load_uint, store_uint, sub_uint, swap_uint,
)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    const int EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout_ms)
    const short POLLIN

cdef long long NEGLECT_NS = 100000000
cdef long long LOOK_NS = 20000000  # between two looks

cdef enum:
    SPARE = 2  # connections that each process may have beyond a quarter more than its share

STATES = ("empty", "booting", "serving", "leaving")


cdef inline SeatRecord *seat_at(BoardRecord *board, unsigned int index) noexcept nogil:
    return <SeatRecord *> (board + 1) + index


cdef bint is_sated(BoardRecord *board, SeatRecord *seat) noexcept nogil:
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


cdef bint others_are_deaf(BoardRecord *board, SeatRecord *seat) noexcept nogil:
    cdef unsigned int index
    cdef SeatRecord *other
    for index in range(load_uint(&board.used)):
        other = seat_at(board, index)
        if other != seat and load_uint(&other.deaf) and load_uint(&other.state) == SEAT_SERVING:
            return True
    return False


cdef void ring(BoardRecord *board) noexcept nogil:
    cdef unsigned long long one = 1
    write(board.bell_fd, &one, sizeof(one))


cdef unsigned int board_serving(BoardRecord *board, unsigned int max_stuck) noexcept nogil:
    cdef unsigned int index
    cdef unsigned int serving = 0
    cdef SeatRecord *seat
    for index in range(load_uint(&board.used)):
        seat = seat_at(board, index)
        if load_uint(&seat.state) == SEAT_SERVING and load_uint(&seat.stuck) <= max_stuck:
            serving += 1
    return serving


cdef bint seat_listens(BoardRecord *board, SeatRecord *seat) noexcept nogil:
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
            ring(board)
        if not is_sated(board, seat):
            store_uint(&seat.deaf, 0)
            return True
    return False


cdef bint seat_must_look(SeatRecord *seat, long long now) noexcept nogil:
    return load_uint(&seat.state) == SEAT_SERVING and now >= seat.look_at


cdef void seat_saw(SeatRecord *seat, bint waiting, long long now) noexcept nogil:
    """Note whether somebody waits who is left to other processes."""
    seat.look_at = now + LOOK_NS
    if not waiting:
        seat.waits_since = 0
    elif seat.waits_since == 0:
        seat.waits_since = now
    seat.neglected = waiting and now - seat.waits_since >= NEGLECT_NS


cdef bint is_knocked_at(int listener) noexcept nogil:
    """Tell whether a connection waits in a listener's backlog."""
    cdef pollfd asked
    asked.fd = listener
    asked.events = POLLIN
    asked.revents = 0
    return poll(&asked, 1, 0) == 1


cdef void seat_count(SeatRecord *seat, int change) noexcept nogil:
    """Count a connection that begins (1) or has ended (-1)."""
    if change > 0:
        add_uint(&seat.open, 1)
    else:
        sub_uint(&seat.open, 1)


cdef class Board:
    """The seats of one server. Made before its processes are forked, which inherit it. size: seats.

    Raises OSError when memory or descriptors are short.
    """

    def __init__(self, int size):
        cdef unsigned char[:] shared
        page = mmap(-1, sizeof(BoardRecord) + size * sizeof(SeatRecord))
        shared = page
        self.record = <BoardRecord *> &shared[0]
        self.kept = (page, shared)
        self.size = size
        self.record.bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.record.bell_fd < 0:
            raise OSError("no descriptor for the bell of the board")

    def seat(self, int number):
        """Return a seat. number: from 0."""
        cdef Seat seat
        if not 0 <= number < self.size:
            raise ValueError(f"the board has no seat {number}")
        seat = Seat.__new__(Seat)
        seat.board = self
        seat.record = seat_at(self.record, number)
        seat.number = number
        if load_uint(&self.record.used) <= <unsigned int> number:
            store_uint(&self.record.used, number + 1)
        return seat

    def wake(self):
        """Let every process look again whether it shall accept."""
        ring(self.record)

    @property
    def fading(self):
        """Whether the server is about to end."""
        return load_uint(&self.record.fading) != 0

    @fading.setter
    def fading(self, bint fading):
        store_uint(&self.record.fading, fading)

    @property
    def bell_fd(self):
        """A descriptor that becomes readable when all shall look again; nobody has to read from it."""
        return self.record.bell_fd

    @property
    def serving(self):
        """How many processes serve."""
        return board_serving(self.record, 0xFFFFFFFF)

    def close(self):
        """Close the bell."""
        if self.record.bell_fd >= 0:
            os.close(self.record.bell_fd)
            self.record.bell_fd = -1


cdef class Seat:
    """One process's place on the board."""

    def take(self):
        """Take the seat for a process that is about to start: nothing of one before is left."""
        self.clear()
        store_uint(&self.record.state, SEAT_BOOTING)

    def clear(self):
        """Give the seat up: who had it has ended, and others may listen in its place."""
        store_uint(&self.record.state, SEAT_EMPTY)
        init_uint(&self.record.open, 0)
        init_uint(&self.record.deaf, 0)
        init_uint(&self.record.stuck, 0)
        init_llong(&self.record.requests, 0)
        self.record.look_at = self.record.waits_since = self.record.neglected = 0
        ring(self.board.record)

    def serve(self):
        """Begin to accept."""
        store_uint(&self.record.state, SEAT_SERVING)
        ring(self.board.record)

    def leave(self):
        """Accept nobody any more."""
        store_uint(&self.record.state, SEAT_LEAVING)
        ring(self.board.record)

    @property
    def state(self):
        """One of STATES."""
        return STATES[load_uint(&self.record.state)]

    @property
    def open(self):
        """Connections now."""
        return load_uint(&self.record.open)

    @property
    def requests(self):
        """Requests served."""
        return load_llong(&self.record.requests)

    @property
    def stuck(self):
        """Threads that met the deadline of their turn and are still in the application."""
        return load_uint(&self.record.stuck)

    @stuck.setter
    def stuck(self, unsigned int stuck):
        store_uint(&self.record.stuck, stuck)

    def add(self, int change):
        """Count connections that began, or have ended: for tests."""
        seat_count(self.record, change)

    def listens(self):
        """Tell whether this process shall accept newcomers now."""
        return seat_listens(self.board.record, self.record)

    def count_request(self):
        """Count a request: for tests."""
        add_llong(&self.record.requests, 1)
