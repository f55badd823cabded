# The path of one response from a worker to its client, and what follows it.
from libc.stdint cimport uint8_t

from halfsync.engine.engine cimport Engine, Request
from halfsync.engine.lease cimport Lease, lease_release
from halfsync.exchange.bridging cimport Sink
from halfsync.exchange.exchange cimport Exchange
from halfsync.exchange.outbox cimport Outbox
from halfsync.http.trust cimport ADDRESS_BYTES

# It lives on the worker's stack, for one turn.
ctypedef struct ProactorSink:
    Sink sink                 # first: the bridge sees only this
    Engine *engine
    Request *request          # NULL once it has gone back to the engine
    Outbox *outbox            # set from then on
    bint gone
    bint probed               # the client was probed, or a part of the response was sent
    Lease *lease              # NULL: the worker has the request without a limit
    uint8_t address[ADDRESS_BYTES]  # of the peer: another may have the connection by the time it is logged
    uint8_t address_length

# Prepare for a request that the worker has taken, with the lease of its turn, which is held.
cdef void sink_open(ProactorSink *self, Engine *engine, Request *request, Lease *lease) noexcept nogil

# Give everything back to the engine, according to how the response ended, as a TurnEnd. Returns the bridge's state if
# the connection has already ended: the caller must discard it. Otherwise NULL.
cdef void *sink_close(ProactorSink *self, Exchange *exchange, int end) noexcept nogil


cdef inline void release_lease(ProactorSink *self) noexcept nogil:
    """Let the engine take the request if the turn passes its deadline."""
    if self.lease != NULL:
        lease_release(self.lease)
