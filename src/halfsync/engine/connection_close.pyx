"""Begin a phase of a connection or of its request, and end a connection.

A function that may free the connection says so; nothing may touch the connection after it.
"""
from libc.stdint cimport int64_t

from halfsync.engine.connections cimport connection_close_socket, connection_free
from halfsync.engine.deadlines cimport next_check
from halfsync.engine.engine cimport SCRATCH_BYTES, connection_of, engine_end_request
from halfsync.engine.ownership cimport owner_submit, owner_withdraw
from halfsync.engine.phases cimport PHASE_LINGER, REQUEST_NONE, REQUEST_NOTIFY
from halfsync.engine.poller cimport poller_note_want
from halfsync.engine.timers cimport wheel_set
from halfsync.engine.transitions cimport begin_phase, begin_request_phase, change_request_phase
from halfsync.exchange.exchange cimport exchange_is_begun, pool_put
from halfsync.exchange.lingering cimport linger_discard
from halfsync.exchange.outbox cimport Outbox, outbox_abandon, outbox_release, outbox_settle
from halfsync.exchange.outcome cimport OUTCOME_DISCONNECTED, outcome_note
from halfsync.exchange.reasons cimport REASON_GONE
from halfsync.pool.request_queue cimport queue_put
from halfsync.transport.transport cimport is_want, transport_finish

cdef int64_t NOTIFY_AGAIN = 100000000  # ns; retry after the queue had no room for a closed connection


cdef void enter_phase(Engine *engine, Connection *connection, int phase) noexcept nogil:
    """Begin a phase of a connection without a request. Its deadline counts from now."""
    begin_phase(connection, phase)
    connection.request.since = engine.now
    wheel_set(&engine.wheel, &connection.timer, next_check(engine, connection))


cdef void enter_request_phase(Engine *engine, Request *request, int phase) noexcept nogil:
    """Begin a phase of a request, or note progress in it: its deadline counts from now."""
    begin_request_phase(request, phase)
    request.since = engine.now
    wheel_set(&engine.wheel, &connection_of(request).timer, next_check(engine, connection_of(request)))


cdef void note_outcome(Request *request, int outcome, int reason) noexcept nogil:
    """Note why a request is about to be cut, unless that is known. outcome: an OutcomeKind. The engine must own it."""
    if request.outbox != NULL:  # its worker may still have the exchange
        outcome_note(&request.outbox.outcome, outcome, reason)
    elif request.exchange != NULL:
        outcome_note(&request.exchange.outcome, outcome, reason)


cdef void close_now(Engine *engine, Connection *connection) noexcept nogil:
    """Close the connection at once, in any phase, and free it. The engine must own it.

    A request that was under way ends with the outcome that was noted (note_outcome), else as disconnected.
    """
    cdef Request *request = &connection.request
    cdef Outbox *outbox = request.outbox
    cdef Exchange *exchange
    if connection.phase == PHASE_LINGER:
        linger_discard(&connection.handle.transport, engine.scratch, SCRATCH_BYTES)
    note_outcome(request, OUTCOME_DISCONNECTED, REASON_GONE)
    if outbox != NULL:
        request.outbox = NULL
        exchange = outbox_abandon(outbox)  # NULL: its worker still uses it, and will discard the bridge's state
        if exchange != NULL:
            outbox_settle(outbox, exchange)
            engine_end_request(engine, exchange, connection.address, connection.address_length, engine.now)
            save_app_state(request, exchange)
            pool_put(&engine.pool, exchange)
        outbox_release(outbox)
    elif request.exchange != NULL and exchange_is_begun(request.exchange) and not request.exchange.outcome.reported:
        engine_end_request(engine, request.exchange, connection.address, connection.address_length, engine.now)
    connection_close_socket(engine, connection)
    notify_closed(engine, connection)


cdef void save_app_state(Request *request, Exchange *exchange) noexcept nogil:
    """Move what the bridge keeps between turns back into the request's record. The caller must own both."""
    request.app_state = exchange.app_state
    exchange.app_state = NULL


cdef void notify_closed(Engine *engine, Connection *connection) noexcept nogil:
    """Free the record of a closed connection. If its bridge keeps something, a worker tells the bridge first.

    If the queue has no room for that, try again later.
    """
    cdef Request *request = &connection.request
    if request.app_state == NULL:
        connection_free(engine, connection)
        return
    change_request_phase(request, REQUEST_NOTIFY)
    owner_submit(&request.owner, False)
    if queue_put(engine.queue, request, engine.now, 0) >= 0:
        engine.counters.close_notices += 1
        engine.put_some = True
        return
    owner_withdraw(&request.owner)
    change_request_phase(request, REQUEST_NONE)
    wheel_set(&engine.wheel, &connection.timer, engine.now + NOTIFY_AGAIN)


cdef void client_disconnected(Engine *engine, Connection *connection) noexcept nogil:
    """Close a connection whose client disconnected in the middle of a request or response. Frees the connection."""
    engine.counters.disconnected += 1
    close_now(engine, connection)


cdef void linger(Engine *engine, Connection *connection) noexcept nogil:
    """Half-close, and wait for the client to close. What it still sends is dropped.

    Closing at once would reset the connection while a response is on its way (RFC 9112 9.6).
    """
    if connection.request.exchange != NULL:
        pool_put(&engine.pool, connection.request.exchange)
        connection.request.exchange = NULL
    finish_sending(engine, connection)
    enter_phase(engine, connection, PHASE_LINGER)


cdef void finish_sending(Engine *engine, Connection *connection) noexcept nogil:
    """Tell the client that nothing more will be sent, now or once the transport can."""
    cdef int result = transport_finish(&connection.handle.transport)
    connection.finishing = is_want(result)
    if connection.finishing:
        poller_note_want(&engine.poller, &connection.handle, result)
