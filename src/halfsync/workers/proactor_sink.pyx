"""The path of one response to its client: directly, as long as the socket takes it, then through an outbox.

With the first byte that the socket does not take, the request goes back to the engine with an outbox. From then on the
worker fills the outbox and does not touch the request, nor its connection. If the turn has a deadline, the worker holds
the request by a lease, and only while it touches the request.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy
from posix.uio cimport iovec
from posix.unistd cimport close

from halfsync.engine.engine cimport (
    END_CUTS, END_LINGERS, END_STAYS, connection_of, engine_announce, engine_end_request,
    engine_is_closing_keepalives, engine_is_handing_off, engine_release, engine_return,
)
from halfsync.engine.lease cimport lease_acquire, lease_end
from halfsync.engine.phases cimport REQUEST_DONE, REQUEST_SENDING
from halfsync.engine.transitions cimport change_request_phase
from halfsync.exchange.bridging cimport TURN_COMPLETE, TURN_CUT, TURN_RESET
from halfsync.exchange.exchange cimport exchange_has_more, pool_put
from halfsync.exchange.interim cimport send_continue
from halfsync.exchange.outbox cimport (
    OUTBOX_COMPLETE, OUTBOX_CUT, OUTBOX_RESET, PIECE_BYTES, outbox_append, outbox_append_file, outbox_finish,
    outbox_is_gone, outbox_open, outbox_release, outbox_settle, outbox_wait,
)
from halfsync.exchange.outcome cimport OUTCOME_DISCONNECTED, OUTCOME_ERROR, OUTCOME_OK, outcome_note
from halfsync.exchange.persistence cimport may_stay
from halfsync.exchange.reasons cimport REASON_CUT, REASON_GONE, REASON_NONE, REASON_RESOURCES, REASON_STOP
from halfsync.exchange.timeline cimport timeline_note_sent
from halfsync.native.sync cimport load_uchar, load_uint, monotonic_ns
from halfsync.observe.completion cimport is_observed
from halfsync.shared.command cimport COMMAND_STOP
from halfsync.transport.transport cimport (
    PEER_ENDED, PEER_GONE, Transport, is_want, pass_sent, transport_abort, transport_cut, transport_finish,
    transport_may_move, transport_send,
)


cdef void sink_open(ProactorSink *self, Engine *engine, Request *request, Lease *lease) noexcept nogil:
    cdef Exchange *exchange = request.exchange
    self.sink.send = sink_send
    self.sink.send_file = sink_send_file
    self.sink.is_disconnected = sink_is_disconnected
    self.sink.gate = engine.gate
    self.sink.waits = self.sink.gil_held = self.sink.whole = False
    self.sink.stays = may_stay(
        exchange.head.keep_alive, engine.timeouts.keep_alive > 0,
        engine_is_closing_keepalives(engine)
        or (engine_is_handing_off(engine) and not transport_may_move(&connection_of(request).handle.transport)),
        connection_of(request).requests, engine.requests_max)
    self.engine = engine
    self.request = request
    self.outbox = NULL
    self.lease = lease
    self.probed = exchange.head.minor == 0  # HTTP/1.0 has no interim responses
    self.gone = load_uchar(&connection_of(request).peer) == PEER_GONE or load_uint(&engine.command) == COMMAND_STOP
    self.address_length = connection_of(request).address_length
    memcpy(self.address, connection_of(request).address, sizeof(self.address))


cdef bint acquire_lease(ProactorSink *self) noexcept nogil:
    """Hold the request, to touch it. Returns False if the engine has taken it: the turn passed its deadline."""
    if self.lease == NULL or lease_acquire(self.lease):
        return True
    self.request = NULL
    self.gone = True
    return False


cdef int send_direct(ProactorSink *self, iovec *vectors, int count) noexcept nogil:
    """Send what the socket takes at once, and advance the vectors. Returns 1: bytes are left; 0: none; -1: gone."""
    cdef ssize_t sent = transport_send(&connection_of(self.request).handle.transport, vectors, count, False)
    if sent > 0:
        timeline_note_sent(&self.request.exchange.timeline, monotonic_ns())
        self.request.exchange.wire_sent += sent
    elif sent < 0 and not is_want(sent):
        return -1
    return pass_sent(vectors, count, max(sent, <ssize_t> 0))


cdef int switch_to_outbox(ProactorSink *self) noexcept nogil:
    """Give the request back to the engine with an outbox for the rest of the response. Returns 0, or -1."""
    cdef Request *request = self.request
    if load_uint(&self.engine.command) == COMMAND_STOP:
        return -1  # the engine has ended or will: the rest would not be sent, and no room made
    self.outbox = outbox_open(self.engine, self.engine.spool_memory, self.engine.store)
    if self.outbox == NULL:
        return -1
    if self.lease != NULL:
        self.outbox.begun_ns = &self.lease.taken_ns
    self.sink.waits = True
    self.request = NULL
    self.outbox.request = request
    request.exchange = NULL  # stays with the worker until the response has ended
    request.outbox = self.outbox
    change_request_phase(request, REQUEST_SENDING)
    engine_return(self.engine, request)
    return 0


cdef int append(ProactorSink *self, const char *data, int64_t length) noexcept nogil:
    """Append to the outbox, and announce each piece before the next one may wait. Returns 0, or -1: gone."""
    cdef int64_t piece
    cdef int result
    while length > 0:
        piece = min(length, <int64_t> PIECE_BYTES)
        result = outbox_append(self.outbox, data, piece, not self.sink.gil_held)
        if result < 0:
            self.gone = True
            return -1
        if result > 0:
            engine_announce(self.engine, self.outbox)
        data += piece
        length -= piece
    return 0


cdef int sink_send(Sink *sink, iovec *vectors, int count) noexcept nogil:
    """Send, or switch to an outbox and append, without getting too far ahead of the client.

    Returns 0, or -1: the client is gone.
    """
    cdef ProactorSink *self = <ProactorSink *> sink
    cdef int64_t length = 0
    cdef int position, result
    if self.gone:
        return -1
    if self.request != NULL:
        if not acquire_lease(self):
            return -1
        self.probed = True
        if self.lease != NULL:
            self.lease.response_begun = True
        result = send_direct(self, vectors, count)
        if result > 0 and switch_to_outbox(self) < 0:
            result = -1
        release_lease(self)
        if result <= 0:
            self.gone = result < 0
            return result
    elif self.engine.response_ahead > 0 and not sink.whole:
        for position in range(count):
            length += vectors[position].iov_len
        if outbox_wait(self.outbox, length, self.engine.response_ahead) < 0:
            self.gone = True
            return -1
    for position in range(count):
        if append(self, <const char *> vectors[position].iov_base, vectors[position].iov_len) < 0:
            return -1
    return 0


cdef int sink_send_file(
    Sink *sink, const char *head, int64_t head_length, int fd, int64_t offset, int64_t length
) noexcept nogil:
    """Switch to an outbox, and let the engine send the head and the file. Returns 0, or -1: the client is gone."""
    cdef ProactorSink *self = <ProactorSink *> sink
    cdef int result
    if self.gone or not acquire_lease(self):
        close(fd)
        return -1
    result = switch_to_outbox(self)
    release_lease(self)
    if result < 0:
        close(fd)
        self.gone = True
        return -1
    result = append(self, head, head_length)
    if result < 0 or length == 0:
        close(fd)
        return result
    result = outbox_append_file(self.outbox, fd, offset, length)
    if result > 0:
        engine_announce(self.engine, self.outbox)
    self.gone = result < 0
    return -1 if self.gone else 0


cdef bint sink_is_disconnected(Sink *sink) noexcept nogil:
    """Return whether the client is gone.

    A client that sends no more may have left, or may still read. So it is probed once, as the engine does while a
    request is queued (see `probe_client` in engine/connection_events.pyx): if it has left, its system answers with a
    reset, after a moment.
    """
    cdef ProactorSink *self = <ProactorSink *> sink
    cdef unsigned int peer
    if self.gone:
        return True
    if self.outbox != NULL:
        return outbox_is_gone(self.outbox)
    if not acquire_lease(self):
        return True
    peer = load_uchar(&connection_of(self.request).peer)
    if peer == PEER_ENDED and not self.probed:
        self.probed = True
        send_continue(&connection_of(self.request).handle.transport)
    release_lease(self)
    return peer == PEER_GONE


cdef void *sink_close(ProactorSink *self, Exchange *exchange, int end) noexcept nogil:
    if self.lease != NULL and not lease_end(self.lease) and self.outbox == NULL:  # the engine has ended all but this
        return drop_exchange(self.engine, exchange)
    if self.request == NULL:
        return finish_outbox(self, exchange, end)
    give_back(self, exchange, end)
    return NULL


cdef void *drop_exchange(Engine *engine, Exchange *exchange) noexcept nogil:
    """Free an exchange whose connection has ended. Returns the bridge's state, or NULL."""
    cdef void *orphaned_state = exchange.app_state
    exchange.app_state = NULL
    pool_put(&engine.pool, exchange)
    return orphaned_state


cdef void *finish_outbox(ProactorSink *self, Exchange *exchange, int end) noexcept nogil:
    """Let the engine end the response once it has sent the outbox. Returns as sink_close."""
    cdef void *orphaned_state = NULL
    cdef int result = OUTBOX_COMPLETE if end == TURN_COMPLETE else OUTBOX_RESET if end == TURN_RESET else OUTBOX_CUT
    if end != TURN_COMPLETE and not outbox_is_gone(self.outbox):
        outcome_note(&exchange.outcome, OUTCOME_ERROR, REASON_RESOURCES if self.gone else REASON_CUT)
    if is_observed(&self.engine.observers):
        exchange.timeline.turned_ns = monotonic_ns()
    result = outbox_finish(self.outbox, result, self.sink.stays, exchange)
    if result < 0:
        outbox_settle(self.outbox, exchange)
        engine_end_request(self.engine, exchange, self.address, self.address_length, monotonic_ns())
        orphaned_state = drop_exchange(self.engine, exchange)
    elif result > 0:
        engine_announce(self.engine, self.outbox)
    outbox_release(self.outbox)
    return orphaned_state


cdef inline void note_end(ProactorSink *self, Exchange *exchange, int end) noexcept nogil:
    """Note the outcome of a request whose response was sent directly, or cut."""
    if end == TURN_COMPLETE:
        outcome_note(&exchange.outcome, OUTCOME_OK, REASON_NONE)
    elif not self.gone:
        outcome_note(&exchange.outcome, OUTCOME_ERROR, REASON_CUT)
    elif load_uint(&self.engine.command) == COMMAND_STOP:
        outcome_note(&exchange.outcome, OUTCOME_ERROR, REASON_STOP)
    else:
        outcome_note(&exchange.outcome, OUTCOME_DISCONNECTED, REASON_GONE)


cdef void give_back(ProactorSink *self, Exchange *exchange, int end) noexcept nogil:
    """Give a request back whose response was sent, or cut.

    If nothing more is sent, its connection has been idle since the last byte.
    """
    cdef Request *request = self.request
    cdef Engine *engine = self.engine
    cdef int64_t now = exchange.timeline.last_sent_ns
    if now == 0 or end != TURN_COMPLETE:
        now = monotonic_ns()
    note_end(self, exchange, end)
    request.app_state = exchange.app_state
    exchange.app_state = NULL
    if load_uint(&engine.command) == COMMAND_STOP:
        inform_client(&connection_of(request).handle.transport, end)
        end = TURN_CUT
    request.since = exchange.timeline.turned_ns = now
    engine_end_request(engine, exchange, self.address, self.address_length, now)
    if end != TURN_COMPLETE or not self.sink.stays:
        request.end = end_sending(&connection_of(request).handle.transport, end)
        change_request_phase(request, REQUEST_DONE)
        engine_return(engine, request)
        return
    request.end = END_STAYS
    change_request_phase(request, REQUEST_DONE)
    if exchange_has_more(exchange) or engine_is_handing_off(engine):
        engine_return(engine, request)
        return
    request.exchange = NULL
    pool_put(&engine.pool, exchange)
    engine_release(engine, request)


cdef void inform_client(Transport *transport, int end) noexcept nogil:
    """End a connection whose engine has ended, or will.

    The thread that closes the server may not wait until the engine is swept, so the client is informed here.
    """
    if end == TURN_RESET:
        transport_abort(transport)
    if end == TURN_COMPLETE:
        transport_finish(transport)
    else:
        transport_cut(transport, True)


cdef int end_sending(Transport *transport, int end) noexcept nogil:
    """Send the end of the last response, or cut it. Returns what follows, as a RequestEnd."""
    if end == TURN_COMPLETE:
        transport_finish(transport)  # so that the client sees the end without waiting for the engine
        return END_LINGERS
    if end == TURN_RESET:
        transport_abort(transport)
    else:
        transport_cut(transport, False)
    return END_CUTS
