# A worker's hold on the connection of its turn, where the engine may end it (request_timeout).
from libc.stdint cimport int64_t, uint8_t, uint32_t

from halfsync.native.sync cimport atomic_uint

cdef enum:
    LEASE_TEXT = 200          # bytes of a request line that are kept

# One for each worker thread, kept for as long as the engine may look at it.
ctypedef struct Lease:
    atomic_uint word          # a LeaseState, and above it the turn's serial number
    uint32_t serial           # worker; of its turn
    int64_t taken_ns          # worker, before the turn is open; when the turn began
    uint8_t response_begun    # whoever holds the connection; a part of the response was sent
    uint8_t reported          # guarded by the workers' lock; the revoked turn was counted or logged
    uint8_t text_length
    unsigned long thread      # worker; as Python identifies it
    Lease *next               # of all that were made
    Lease *next_spare         # of those whose thread has ended
    char text[LEASE_TEXT]     # worker; method and target, or the beginning of them

cdef void lease_begin(Lease *lease, int64_t now, const char *text, int64_t length) noexcept nogil
cdef void lease_release(Lease *lease) noexcept nogil
cdef bint lease_acquire(Lease *lease) noexcept nogil
cdef bint lease_end(Lease *lease) noexcept nogil
cdef bint lease_is_revoked(Lease *lease) noexcept nogil

cdef enum LeaseHold:
    HOLD_OVER                 # the turn has ended
    HOLD_BUSY                 # the worker is touching the connection; look again soon
    HOLD_TAKEN

cdef int lease_hold(Lease *lease, uint32_t serial) noexcept nogil
cdef void lease_revoke(Lease *lease) noexcept nogil
