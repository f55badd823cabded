# A worker's hold on the request of its turn, if the engine may end the turn (request_timeout).
from libc.stdint cimport int64_t, uint8_t, uint32_t

from halfsync.exchange.exchange cimport Exchange
from halfsync.http.request_id cimport REQUEST_ID_BYTES
from halfsync.http.trace_context cimport TRACE_ID_BYTES
from halfsync.native.sync cimport atomic_uint

cdef enum:
    LEASE_TEXT = 200          # bytes of a request line that are kept

# What a revoked lease tells of its request.
ctypedef struct LeasedRequest:
    uint8_t text_length
    uint8_t id_length         # 0: it has none
    uint8_t trace_length      # 0: it belongs to none
    char text[LEASE_TEXT]     # method and target, truncated
    char id[REQUEST_ID_BYTES]
    char trace[TRACE_ID_BYTES]

# One for each worker thread; it lives as long as the engine may look at it.
ctypedef struct Lease:
    atomic_uint word          # a LeaseState, with the serial number of the turn above it
    uint32_t serial           # worker; of its current turn
    int64_t taken_ns          # worker, before the turn or under its outbox's lock; when the turn began, plus its waits
    uint8_t response_begun    # side that holds the request; a part of the response was sent
    uint8_t reported          # guarded by the workers' lock; the revoked turn was counted or logged
    const Exchange *exchange  # worker; of its current turn. Not the engine's, unless it holds the lease
    void *taker               # worker; its Taker, which exists until the thread has returned from the turn
    unsigned long thread      # worker; Python's identifier of it
    Lease *next               # in the list of all leases
    Lease *next_spare         # in the list of leases whose thread has ended
    LeasedRequest request     # side that holds the request, when the lease is revoked

cdef void lease_begin(Lease *lease, int64_t now, const Exchange *exchange) noexcept nogil
cdef void lease_release(Lease *lease) noexcept nogil
cdef bint lease_acquire(Lease *lease) noexcept nogil
cdef bint lease_end(Lease *lease) noexcept nogil
cdef bint lease_is_revoked(Lease *lease) noexcept nogil

cdef enum LeaseHold:
    HOLD_OVER                 # the turn has ended
    HOLD_BUSY                 # the worker is touching the request; look again soon
    HOLD_TAKEN

cdef int lease_hold(Lease *lease, uint32_t serial) noexcept nogil
cdef void lease_revoke(Lease *lease) noexcept nogil
