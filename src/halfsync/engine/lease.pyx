"""A worker's hold on the connection of its turn, where the engine may end it.

By its owner word a connection is the worker's until the worker gives it back. With a deadline for the application the
engine must be able to take it from a worker that is stuck in the application, and that worker, when it returns one day,
must not touch what is another's by then. So the worker holds the connection only while it touches it: its lease is
*busy* then, and *running* while the application has the thread. The engine may make a running lease busy, do what it
must, and leave it *revoked*. Both sides change the word by compare-and-swap, with the turn's serial number in it: an
engine that comes too late, when the worker is in another turn already, changes nothing.

Nobody keeps a lease busy for longer than some system calls that do not wait.
"""
from libc.string cimport memcpy

from halfsync.native.checks cimport check
from halfsync.native.sync cimport cas_uint, load_uint, sleep_ns, store_uint

cdef enum LeaseState:
    LEASE_FREE = 0            # no turn
    LEASE_RUNNING = 1         # the application has the thread
    LEASE_BUSY = 2            # worker or engine touches the connection
    LEASE_REVOKED = 3         # the engine has taken the connection
    STATE_MASK = 3
    SERIAL_SHIFT = 2
    SERIAL_MASK = 0x3FFFFFFF

cdef int64_t PAUSE_NS = 20000  # between two looks of a worker at an engine that is about to revoke


cdef inline unsigned int word_of(uint32_t serial, unsigned int state) noexcept nogil:
    return (serial << SERIAL_SHIFT) | state


# The worker's side.

cdef void lease_begin(Lease *lease, int64_t now, const char *text, int64_t length) noexcept nogil:
    """Begin a turn, busy. text: what the turn is about, for a person."""
    lease.serial = (lease.serial + 1) & SERIAL_MASK
    lease.taken_ns = now
    lease.response_begun = lease.reported = False
    lease.text_length = <uint8_t> min(length, <int64_t> LEASE_TEXT)
    memcpy(lease.text, text, lease.text_length)
    store_uint(&lease.word, word_of(lease.serial, LEASE_BUSY))


cdef void lease_release(Lease *lease) noexcept nogil:
    """Leave the connection alone: from here on the engine may revoke the lease."""
    check(load_uint(&lease.word) == word_of(lease.serial, LEASE_BUSY), "a lease is opened that is not held")
    store_uint(&lease.word, word_of(lease.serial, LEASE_RUNNING))


cdef bint lease_acquire(Lease *lease) noexcept nogil:
    """Hold the connection, to touch it. Returns False when the engine has taken it: it must not be touched any more."""
    cdef unsigned int word
    while True:
        word = word_of(lease.serial, LEASE_RUNNING)
        if cas_uint(&lease.word, &word, word_of(lease.serial, LEASE_BUSY)):
            return True
        if word & STATE_MASK == LEASE_REVOKED:
            return False
        sleep_ns(PAUSE_NS)  # the engine is at it, and will be done in a moment


cdef bint lease_end(Lease *lease) noexcept nogil:
    """End the turn. Returns False when it was revoked; else the connection is the worker's to give back."""
    if not lease_acquire(lease):
        return False
    store_uint(&lease.word, word_of(lease.serial, LEASE_FREE))
    return True


cdef bint lease_is_revoked(Lease *lease) noexcept nogil:
    """Tell whether the engine has ended the turn that the worker is in, or was in last."""
    return load_uint(&lease.word) & STATE_MASK == LEASE_REVOKED


# The engine's side.

cdef int lease_hold(Lease *lease, uint32_t serial) noexcept nogil:
    """Hold the connection of the turn with this number. Returns a LeaseHold."""
    cdef unsigned int word = word_of(serial, LEASE_RUNNING)
    if cas_uint(&lease.word, &word, word_of(serial, LEASE_BUSY)):
        return HOLD_TAKEN
    return HOLD_BUSY if word == word_of(serial, LEASE_BUSY) else HOLD_OVER


cdef void lease_revoke(Lease *lease) noexcept nogil:
    """Say that the connection is the worker's no more. The engine holds the lease."""
    store_uint(&lease.word, (load_uint(&lease.word) & ~<unsigned int> STATE_MASK) | LEASE_REVOKED)
