"""The engine's own answers: refusals, and static files.

The engine sends what the socket takes at once, and leaves the rest to an outbox, as a worker does.
"""
from libc.stdint cimport int64_t, uint32_t
from posix.unistd cimport close

from halfsync.engine.connection_close cimport (
    client_disconnected, close_now, enter_phase, enter_request_phase, linger, note_outcome, save_app_state,
)
from halfsync.engine.engine cimport (
    Connection, connection_of, engine_announce, engine_defer, engine_end_request, engine_is_closing_keepalives,
    engine_is_handing_off, engine_note_refusal,
)
from halfsync.engine.ownership cimport owner_withdraw
from halfsync.engine.phases cimport PHASE_IDLE, REQUEST_SENDING
from halfsync.engine.poller cimport RECEIVE_GONE, RECEIVE_HOLD, RECEIVE_MORE, poller_send_file
from halfsync.engine.transitions cimport begin_phase
from halfsync.exchange.exchange cimport Exchange, exchange_has_more, exchange_identify, pool_put
from halfsync.exchange.native_handler cimport NativeResponse
from halfsync.exchange.outbox cimport (
    OUTBOX_COMPLETE, Outbox, outbox_abandon, outbox_append, outbox_append_file, outbox_finish, outbox_open,
    outbox_release,
)
from halfsync.exchange.outcome cimport OUTCOME_DISCONNECTED, OUTCOME_ERROR, OUTCOME_EXPIRED, OUTCOME_OK
from halfsync.exchange.persistence cimport may_stay
from halfsync.exchange.reasons cimport REASON_GONE, REASON_NONE, REASON_RESOURCES
from halfsync.exchange.refusal cimport exchange_error
from halfsync.exchange.timeline cimport timeline_note_sent
from halfsync.http.response_head cimport ERROR_BYTES
from halfsync.native.sync cimport monotonic_ns
from halfsync.pool.lanes cimport lanes_note_refusal
from halfsync.observe.causes cimport measure_refusal
from halfsync.observe.completion cimport is_observed
from halfsync.observe.refusals cimport (
    ANSWER_END, ANSWER_ERROR, ANSWER_RESET, refusal_answer, refusal_counter, refusal_ended, refusal_status,
)
from halfsync.transport.transport cimport is_want, transport_abort, transport_may_move, transport_send_bytes

cdef enum:
    JOINED_MOST = 256 * 1024  # of a file whose first bytes share a segment with its head (decisions/0014)


cdef void start_sending(Engine *engine, Request *request) noexcept nogil:
    """Begin to send an outbox. The client's pace is judged from the timer's first look on."""
    connection_of(request).pace.since = 0
    enter_request_phase(engine, request, REQUEST_SENDING)


cdef void outbox_drop(Outbox *outbox) noexcept nogil:
    """Free an outbox that no request has yet, with both of its references."""
    outbox_abandon(outbox)
    outbox_release(outbox)
    outbox_release(outbox)


cdef Outbox *outbox_with(Engine *engine, const char *data, int64_t length) noexcept nogil:
    """Return a new outbox that holds these bytes, of which there may be none. NULL: memory is short."""
    cdef Outbox *outbox = outbox_open(engine, engine.spool_memory, engine.store)
    if outbox != NULL and length > 0 and outbox_append(outbox, data, length, False) < 0:
        outbox_drop(outbox)
        return NULL
    return outbox


cdef void give_outbox(Engine *engine, Request *request, Outbox *outbox) noexcept nogil:
    """Give a request an outbox to send. The loop begins with that: it may free the connection, which callers have."""
    outbox.request = request
    request.outbox = outbox
    start_sending(engine, request)
    engine_announce(engine, outbox)


cdef void end_unsent(Engine *engine, Request *request) noexcept nogil:
    """End a request for whose response memory is short, and reset its connection, which is freed."""
    cdef Connection *connection = connection_of(request)
    note_outcome(request, OUTCOME_ERROR, REASON_RESOURCES)
    engine_end_request(engine, request.exchange, connection.address, connection.address_length, engine.now)
    transport_abort(&connection.handle.transport)
    close_now(engine, connection)


cdef bint send_later(Engine *engine, Request *request, const char *data, int64_t length) noexcept nogil:
    """Leave the end of the engine's own response to an outbox, then end the connection. False: memory is short."""
    cdef Outbox *outbox = outbox_with(engine, data, length)
    if outbox == NULL:
        return False
    outbox_finish(outbox, OUTBOX_COMPLETE, False, NULL)
    outbox_release(outbox)  # no worker adds to it
    if request.exchange != NULL:
        pool_put(&engine.pool, request.exchange)
        request.exchange = NULL
    give_outbox(engine, request, outbox)
    return True


cdef void note_refusal(
    Engine *engine, const Request *request, int answer, int status, int reason
) noexcept nogil:
    """Count a refusal, and note its reason. answer: how the client is answered, an Answer."""
    cdef const Connection *connection = connection_of(request)
    refusal_counter(engine.counters, status)[0] += 1
    measure_refusal(engine.metrics, status, reason)
    engine_note_refusal(
        engine, request.exchange, connection.address, connection.address_length, refusal_status(answer, status),
        reason)


cdef void refuse(Engine *engine, Request *request, int status, int reason) noexcept nogil:
    """Answer with an error of the engine's own, and end the connection: nothing after it is read as a request.

    reason: a Reason, as for refusal_text.
    """
    cdef Connection *connection = connection_of(request)
    cdef int answer = refusal_answer(False, connection.awaits_proxy, False)
    if request.exchange != NULL:
        exchange_identify(
            request.exchange, engine.observers.ids, connection.address, connection.address_length)
    note_refusal(engine, request, answer, status, reason)
    if answer == ANSWER_END:
        linger(engine, connection)
    else:
        send_refusal(engine, request, request.exchange, status, reason)


cdef void send_refusal(
    Engine *engine, Request *request, Exchange *exchange, int status, int reason
) noexcept nogil:
    """Send the refusal of the request in an exchange, which may be NULL, and end the connection."""
    cdef Connection *connection = connection_of(request)
    cdef char response[ERROR_BYTES]
    cdef int64_t body
    cdef int length = exchange_error(exchange, status, &engine.fields, False, response, &body)
    cdef ssize_t sent
    sent = transport_send_bytes(&connection.handle.transport, response, length, False)
    if sent > 0 and exchange != NULL:
        timeline_note_sent(&exchange.timeline, engine.now)
    if exchange != NULL and (sent >= 0 or is_want(sent)):  # what is left is sent, unless the client leaves
        exchange.wire_sent = length
    refusal_ended(
        &engine.observers, exchange, status, body, reason, connection.address, connection.address_length, engine.now)
    if sent < 0:  # the previous response fills the socket, or the client is gone
        sent = 0 if is_want(sent) else length
    if sent == length or not send_later(engine, request, response + sent, length - sent):
        linger(engine, connection)


cdef bint may_stay_after(Engine *engine, const Request *request, uint32_t requests) noexcept nogil:
    """Return whether a connection may stay after a response of the engine's own to its nth request."""
    return may_stay(
        request.exchange.head.keep_alive, engine.timeouts.keep_alive > 0,
        engine_is_closing_keepalives(engine)
        or (engine_is_handing_off(engine) and not transport_may_move(&connection_of(request).handle.transport)),
        requests, engine.requests_max)


cdef int shed(Engine *engine, Request *request, int outcome, int reason) noexcept nogil:
    """Answer 503 to a request that no worker has taken. Its connection stays if the client and the server let it.

    outcome: OUTCOME_SHED or OUTCOME_EXPIRED. May free the connection. Returns RECEIVE_*.
    """
    cdef Connection *connection = connection_of(request)
    cdef Exchange *exchange = request.exchange
    cdef NativeResponse answer
    cdef int64_t body
    cdef bint stays
    owner_withdraw(&request.owner)
    save_app_state(request, exchange)
    if engine.limits.raw:
        return cut_stream(engine, request, reason)
    stays = may_stay_after(engine, request, connection.requests)
    note_refusal(engine, request, ANSWER_ERROR, 503, reason)
    if engine.queue.lanes != NULL:
        lanes_note_refusal(engine.queue.lanes, request.lane, outcome == OUTCOME_EXPIRED)
    note_outcome(request, outcome, reason)
    answer.ready = exchange_error(exchange, 503, &engine.fields, stays, engine.scratch, &body)
    answer.fd = -1
    answer.offset = answer.length = 0
    return send_native_response(engine, request, &answer, stays)


cdef int cut_stream(Engine *engine, Request *request, int reason) noexcept nogil:
    """Reset the connection of a stream for which there is no room (ANSWER_RESET). Returns RECEIVE_GONE."""
    cdef Connection *connection = connection_of(request)
    note_refusal(engine, request, ANSWER_RESET, 503, reason)
    transport_abort(&connection.handle.transport)
    close_now(engine, connection)
    return RECEIVE_GONE


cdef int send_native_response(
    Engine *engine, Request *request, const NativeResponse *answer, bint stays
) noexcept nogil:
    """Send an answer that lies in `scratch` and in its file, and log it.

    What the socket does not take goes to an outbox. Returns RECEIVE_*; may free the connection.
    """
    cdef Connection *connection = connection_of(request)
    cdef Exchange *exchange = request.exchange
    cdef ssize_t sent = transport_send_bytes(
        &connection.handle.transport, engine.scratch, answer.ready, 0 < answer.length <= JOINED_MOST)
    cdef bint gone = sent < 0 and not is_want(sent)
    cdef int64_t moved = 0  # of the file
    cdef int64_t now
    if sent == answer.ready and answer.length > 0:
        # If nothing was sent, the outbox finds out why.
        moved = max(0, poller_send_file(
            &engine.poller, &connection.handle, answer.fd, answer.offset, answer.length))
        if moved == answer.length:
            close(answer.fd)
    now = monotonic_ns() if is_observed(&engine.observers) else engine.now
    if sent > 0:
        timeline_note_sent(&exchange.timeline, now)
        exchange.wire_sent = sent + moved
    if not gone and (sent < answer.ready or moved < answer.length):
        return send_rest(engine, request, answer, max(sent, <ssize_t> 0), moved, stays)
    if gone:
        note_outcome(request, OUTCOME_DISCONNECTED, REASON_GONE)
    else:
        note_outcome(request, OUTCOME_OK, REASON_NONE)
    engine_end_request(engine, exchange, connection.address, connection.address_length, now)
    if gone:
        if answer.fd >= 0:
            close(answer.fd)
        client_disconnected(engine, connection)
        return RECEIVE_GONE
    if not stays:
        linger(engine, connection)
        return RECEIVE_MORE
    if exchange_has_more(exchange):
        # The next request waits until other connections were visited.
        begin_phase(connection, PHASE_IDLE)
        engine_defer(engine, request)
        return RECEIVE_HOLD
    enter_phase(engine, connection, PHASE_IDLE)
    pool_put(&engine.pool, exchange)
    request.exchange = NULL
    return RECEIVE_MORE


cdef int send_rest(
    Engine *engine, Request *request, const NativeResponse *answer, int64_t sent, int64_t moved, bint stays
) noexcept nogil:
    """Leave the rest of an answer to an outbox, after `sent` bytes of its head and `moved` of its file.

    Returns RECEIVE_*; may free the connection.
    """
    cdef Outbox *outbox = outbox_with(engine, engine.scratch + sent, answer.ready - sent)
    cdef bint failed = outbox == NULL
    if answer.fd >= 0:
        if failed:
            close(answer.fd)
        else:
            failed = outbox_append_file(outbox, answer.fd, answer.offset + moved, answer.length - moved) < 0
    if failed:  # memory is short
        if outbox != NULL:
            outbox_drop(outbox)
        end_unsent(engine, request)
        return RECEIVE_GONE
    outbox_finish(outbox, OUTBOX_COMPLETE, stays, request.exchange)
    outbox_release(outbox)  # no worker adds to it
    request.exchange = NULL
    give_outbox(engine, request, outbox)
    return RECEIVE_HOLD
