"""A worker's hold on the request of its turn, if the engine may end the turn.

By the owner word, a request is the worker's until the worker gives it back. If the application has a deadline, the
engine must be able to take the request from a worker that is stuck in the application. When the application returns at
last, the worker must not touch a request that it no longer owns, nor its connection. So the worker holds the request
only while it touches it: then its lease is *busy*. While the application has the thread, the lease is *running*. The
engine may make a running lease busy, do its work, and leave the lease *revoked*. Both sides change the word by
compare-and-swap, and the word contains the turn's serial number: an engine that comes too late, when the worker is
already in another turn, changes nothing.

A lease is busy only for the duration of a few system calls that do not wait.
"""
from libc.string cimport memcpy

from halfsync.http.parser cimport Head
from halfsync.http.trace_context cimport trace_id_of
from halfsync.native.checks cimport check
from halfsync.native.sync cimport cas_uint, load_uint, sleep_ns, store_uint

cdef enum LeaseState:
    LEASE_FREE = 0            # no turn
    LEASE_RUNNING = 1         # the application has the thread
    LEASE_BUSY = 2            # worker or engine touches the request
    LEASE_REVOKED = 3         # the engine has taken the request
    STATE_MASK = 3
    SERIAL_SHIFT = 2
    SERIAL_MASK = 0x3FFFFFFF

cdef int64_t PAUSE_NS = 20000  # a worker's pause before it looks again at a lease that the engine holds


cdef inline unsigned int word_of(uint32_t serial, unsigned int state) noexcept nogil:
    return (serial << SERIAL_SHIFT) | state


# The worker's side.

cdef void lease_begin(Lease *lease, int64_t now, const Exchange *exchange) noexcept nogil:
    """Begin a turn, with the lease busy. exchange: of the turn; it lives until the turn ends."""
    lease.serial = (lease.serial + 1) & SERIAL_MASK
    lease.taken_ns = now
    lease.exchange = exchange
    lease.response_begun = lease.reported = False
    store_uint(&lease.word, word_of(lease.serial, LEASE_BUSY))


cdef void lease_release(Lease *lease) noexcept nogil:
    """Release the request: from here on the engine may revoke the lease."""
    check(load_uint(&lease.word) == word_of(lease.serial, LEASE_BUSY), "a lease is opened that is not held")
    store_uint(&lease.word, word_of(lease.serial, LEASE_RUNNING))


cdef bint lease_acquire(Lease *lease) noexcept nogil:
    """Hold the request, to touch it. Returns False if the engine has taken it: then it must not be touched."""
    cdef unsigned int word
    while True:
        word = word_of(lease.serial, LEASE_RUNNING)
        if cas_uint(&lease.word, &word, word_of(lease.serial, LEASE_BUSY)):
            return True
        if word & STATE_MASK == LEASE_REVOKED:
            return False
        sleep_ns(PAUSE_NS)  # the engine holds it, for a moment only


cdef bint lease_end(Lease *lease) noexcept nogil:
    """End the turn. Returns False if it was revoked; else the worker must give the request back."""
    if not lease_acquire(lease):
        return False
    store_uint(&lease.word, word_of(lease.serial, LEASE_FREE))
    return True


cdef bint lease_is_revoked(Lease *lease) noexcept nogil:
    """Return whether the engine has ended the worker's current or last turn."""
    return load_uint(&lease.word) & STATE_MASK == LEASE_REVOKED


# The engine's side.

cdef int lease_hold(Lease *lease, uint32_t serial) noexcept nogil:
    """Hold the request of the turn with this number. Returns a LeaseHold."""
    cdef unsigned int word = word_of(serial, LEASE_RUNNING)
    if cas_uint(&lease.word, &word, word_of(serial, LEASE_BUSY)):
        return HOLD_TAKEN
    return HOLD_BUSY if word == word_of(serial, LEASE_BUSY) else HOLD_OVER


cdef void keep_request(LeasedRequest *request, const Exchange *exchange) noexcept nogil:
    """Copy what names a request to a person."""
    cdef const Head *head = &exchange.head
    cdef const char *trace = trace_id_of(head, exchange.data)
    request.text_length = <uint8_t> min(head.target + head.target_length - head.method, <uint32_t> LEASE_TEXT)
    memcpy(request.text, exchange.data + head.method, request.text_length)
    request.id_length = <uint8_t> exchange.id_length
    memcpy(request.id, exchange.id, request.id_length)
    request.trace_length = 0 if trace == NULL else TRACE_ID_BYTES
    if trace != NULL:
        memcpy(request.trace, trace, TRACE_ID_BYTES)


cdef void lease_revoke(Lease *lease) noexcept nogil:
    """Mark the request as no longer the worker's, and keep what names it. The engine must hold the lease."""
    keep_request(&lease.request, lease.exchange)
    store_uint(&lease.word, (load_uint(&lease.word) & ~<unsigned int> STATE_MASK) | LEASE_REVOKED)
