"""The sync half: worker threads that run the application, each with a request to answer.

A worker takes a complete request from the queue, and owns it until it gives it back: at the end of the turn, or with
the first byte that the socket does not take (workers/proactor_sink.pyx). The engine may also take the request from a
worker that is stuck in the application (workers/monitor.pyx).
"""
from libc.stdint cimport int64_t

from halfsync.engine.engine cimport connection_of, engine_return
from halfsync.engine.lease cimport Lease, lease_is_revoked
from halfsync.engine.ownership cimport owner_take
from halfsync.engine.phases cimport REQUEST_NOTIFY
from halfsync.exchange.bridging cimport Origin, TURN_CUT
from halfsync.exchange.exchange cimport Exchange
from halfsync.workers.proactor_sink cimport ProactorSink, release_lease, sink_close, sink_open

from halfsync.log import warn


cdef class RequestWorkers(MonitoredThreads):
    """The sync half: each thread takes a complete request from the queue and runs the application for it."""

    cdef int turn(self, QueueSlot *slot, Taker *taker) except -1:
        cdef Request *request = <Request *> slot.item
        cdef Exchange *exchange = request.exchange
        cdef ProactorSink sink
        cdef Origin origin
        cdef int64_t now = slot.taken_ns
        cdef int end = TURN_CUT
        cdef void *orphaned_state
        cdef Lease *lease = NULL
        if self.limit_s > 0 and exchange != NULL:
            lease = self.begin_lease(request, now, taker)
        owner_take(&request.owner)
        if request.phase == REQUEST_NOTIFY:
            self.notify_bridge(request)
            return 0
        sink_open(&sink, self.engine, request, lease)
        origin.address = sink.address
        origin.address_length = sink.address_length
        origin.listener = connection_of(request).listener
        exchange.timeline.taken_ns = now
        release_lease(&sink)
        if sink.gone:
            self.dropped += 1
            sink_close(&sink, exchange, TURN_CUT)
            return self.return_late(lease) if lease != NULL and lease_is_revoked(lease) else 0
        if self.limit_s > 0 and lease == NULL:
            warn("answering a request with 503: no memory for its request_timeout")
            sink_close(&sink, exchange, self.bridge.refuse(exchange, &sink.sink, 503))
            return 0
        try:
            end = self.bridge.run(exchange, &origin, &sink.sink, (now - slot.put_ns) * 1e-9)
        finally:
            orphaned_state = sink_close(&sink, exchange, end)
        if orphaned_state != NULL:
            self.bridge.discard_state(orphaned_state)
        if lease != NULL and lease_is_revoked(lease):
            return self.return_late(lease)
        return 0

    cdef void notify_bridge(self, Request *request) noexcept:
        """Tell the bridge that the connection of a request has ended, on which the bridge keeps something."""
        self.bridge.discard_state(request.app_state)
        request.app_state = NULL
        engine_return(self.engine, request)
