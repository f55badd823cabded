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

from cpython.pycapsule cimport PyCapsule_New

from halfsync.native.shared cimport map_shared, unmap_shared
from halfsync.native.sync cimport add_llong, init_llong, init_uint, load_llong, load_uint, store_uint
from halfsync.shared.slots cimport (
    SEAT_BOOTING, SEAT_EMPTY, SEAT_SERVING, board_serving, ring_bell, seat_at, seat_count, seat_leave, seat_left,
    seat_listens,
)

from halfsync.runtime.originals import os

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags)
    const int EFD_CLOEXEC, EFD_NONBLOCK

STATES = ("empty", "booting", "serving", "leaving", "left")


cdef class Board:
    """The seats of one server. Made before its processes are forked, which inherit it. size: seats.

    Raises MemoryError or OSError when memory or descriptors are short.
    """

    def __init__(self, int size):
        self.size = size
        self.record = <BoardRecord *> map_shared(sizeof(BoardRecord) + size * sizeof(SeatRecord))
        if self.record == NULL:
            raise MemoryError
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
        seat.place.board = self.record
        seat.place.seat = seat.record
        seat.capsule = PyCapsule_New(&seat.place, b"halfsync.seat", NULL)
        if load_uint(&self.record.used) <= <unsigned int> number:
            store_uint(&self.record.used, number + 1)
        return seat

    def __dealloc__(self):
        unmap_shared(self.record, sizeof(BoardRecord) + self.size * sizeof(SeatRecord))

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
        ring_bell(self.board.record)

    def serve(self):
        """Begin to accept."""
        store_uint(&self.record.state, SEAT_SERVING)
        ring_bell(self.board.record)

    def leave(self):
        """Accept nobody any more."""
        seat_leave(self.record)
        ring_bell(self.board.record)

    def left(self):
        """Say that the listeners are closed: for tests."""
        seat_left(self.record)

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
