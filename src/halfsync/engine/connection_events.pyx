"""React to what happens on a connection, from the engine's side: receive, frame, submit, continue, end.

Each function runs on the engine's thread, does a bounded amount of work and never blocks. A connection and its request
move through the phases of `phases.pxd`. While a worker owns the request, the engine only notes what happened
(OWNER_EVENT), and looks at the connection when the request comes back. A function that may free the connection says so;
nothing may touch the connection after it.
"""
from libc.errno cimport EAGAIN
from libc.stdint cimport INT64_MAX, int64_t
from libc.string cimport memcpy

from halfsync.engine.admission cimport admit, reject
from halfsync.engine.connection_close cimport (
    client_disconnected, close_now, enter_phase, enter_request_phase, finish_sending, linger, note_outcome,
    notify_closed,
)
from halfsync.engine.connections cimport connection_free
from halfsync.engine.deadlines cimport awaited_of, deadline_of, is_slow, next_check, note_progress
from halfsync.engine.engine cimport (
    END_CUTS, END_STAYS, HANDSHAKE_DONE, HANDSHAKE_FAILED, HANDSHAKE_WANTS_READ, SCRATCH_BYTES, connection_of,
    engine_defer,
)
from halfsync.engine.feeds cimport feed_begin
from halfsync.engine.handoff cimport handoff_connection
from halfsync.engine.handshakes cimport handshake_submit
from halfsync.engine.ownership cimport owner_note_event, owner_submit, owner_take_back
from halfsync.engine.phases cimport (
    OWNER_ENGINE, OWNER_EVENT, OWNER_MASK, OWNER_QUEUE, OWNER_WORKER, PHASE_CLOSED_NOTIFY, PHASE_HANDSHAKE, PHASE_IDLE,
    PHASE_LINGER, PHASE_SILENT, REQUEST_BODY, REQUEST_DONE, REQUEST_HEAD, REQUEST_NONE, REQUEST_SENDING, REQUEST_TURN,
    owner_is,
)
from halfsync.engine.poller cimport RECEIVE_GONE, RECEIVE_HOLD, RECEIVE_MORE, poller_note_want
from halfsync.engine.request_timeout cimport CHECK_AGAIN, check_queued, check_response, check_turn, enqueue
from halfsync.engine.responses cimport may_stay_after, refuse, send_native_response, shed, start_sending
from halfsync.engine.sending cimport send_outbox
from halfsync.engine.timers cimport wheel_set
from halfsync.engine.transitions cimport begin_phase, begin_request_phase, change_request_phase, note_released
from halfsync.exchange.deadlines cimport LATE_REFUSE, LATE_RESET, LATE_STATUS, late
from halfsync.exchange.exchange cimport (
    EXCHANGE_HEAD, EXCHANGE_PROXY, Exchange, exchange_follow, exchange_has_more, exchange_identify,
    exchange_note_framed, exchange_received, exchange_room, pool_get, pool_put,
)
from halfsync.exchange.interim cimport send_continue
from halfsync.exchange.native_handler cimport NativeResponse
from halfsync.exchange.outcome cimport OUTCOME_DISCONNECTED, OUTCOME_EXPIRED, OUTCOME_SHED
from halfsync.exchange.rates cimport pace_begin
from halfsync.exchange.reasons cimport REASON_LATE_PROXY, REASON_NONE, REASON_OVERLOAD, REASON_READING, REASON_REQUESTS
from halfsync.exchange.timeline cimport timeline_begin
from halfsync.native.checks cimport check
from halfsync.native.sync cimport cas_uchar, load_uchar, load_uint, store_uchar, swap_uint
from halfsync.pool.queue_slot cimport QUEUE_IS_OVERLOADED
from halfsync.pool.request_queue cimport queue_hold, queue_unhold
from halfsync.transport.transport cimport (
    PEER_ENDED, PEER_GONE, PEER_HERE, PEEK_BYTES, WANT_READ, WANT_WRITE, is_want, transport_abort, transport_handshake,
    transport_handshake_computes, transport_peek,
)

cdef int64_t SECOND = 1000000000
cdef int64_t PROBE_AFTER = 20000000  # ns; a request taken by then is answered without a probe of its client


cdef int submit(Engine *engine, Request *request) noexcept nogil:
    """Put a complete request into the queue, and give it up with that. Returns RECEIVE_*."""
    cdef Connection *connection = connection_of(request)
    cdef int64_t look = max(engine.timeouts.keep_alive, SECOND)
    begin_request_phase(request, REQUEST_TURN)
    request.exchange.timeline.queued_ns = request.since = engine.now
    request.exchange.app_state = request.app_state
    request.app_state = NULL
    request.probed = False
    connection.requests += 1
    # A worker may release the request unnoticed, so the timer must not be set later than keep_alive allows. It takes
    # the request unnoticed, too: the deadline of its turn is timeouts.turn from now at the earliest.
    if engine.timeouts.turn > 0:
        look = min(look, engine.timeouts.turn)
    if engine.timeouts.queue > 0:
        look = min(look, engine.timeouts.queue)
    wheel_set(&engine.wheel, &connection.timer, engine.now + look)
    # The event for bytes left in the socket, or for the client's end, has passed and will not come again.
    owner_submit(&request.owner, connection.handle.readable or connection.handle.transport.ended)
    engine.counters.requests += 1  # before a worker can have answered it
    cdef int64_t ticket = enqueue(engine, request)
    if ticket < 0:
        engine.counters.requests -= 1
        if ticket == QUEUE_IS_OVERLOADED:
            return shed(engine, request, OUTCOME_EXPIRED, REASON_OVERLOAD)
        return shed(engine, request, OUTCOME_SHED, REASON_REQUESTS)
    request.ticket = ticket
    engine.put_some = True
    return RECEIVE_HOLD


cdef int advance(Engine *engine, Request *request, int framed) noexcept nogil:
    """Act on the result of framing: submit, wait for more, or refuse. Returns RECEIVE_*."""
    cdef Connection *connection = connection_of(request)
    cdef Exchange *exchange = request.exchange
    cdef NativeResponse answer
    cdef bint stays
    exchange_note_framed(exchange, engine.now)
    if framed == 1:
        exchange_identify(exchange, engine.observers.ids, connection.address, connection.address_length)
        if engine.files != NULL:
            stays = may_stay_after(engine, request, connection.requests + 1)
            answer.goes_on = False
            if engine.files.answer(engine.files, exchange, stays, engine.scratch, &answer):
                engine.counters.requests += 1  # before the client can have seen the answer
                engine.counters.files += 1
                connection.requests += 1
                if answer.goes_on:
                    return feed_begin(engine, request, &answer)
                return send_native_response(engine, request, &answer, stays)
        return submit(engine, request)
    if framed < 0:
        refuse(engine, request, -framed, REASON_NONE)
    elif exchange.phase == EXCHANGE_HEAD:
        if request.phase != REQUEST_HEAD:
            enter_request_phase(engine, request, REQUEST_HEAD)
    else:
        if request.phase != REQUEST_BODY:
            pace_begin(&connection.pace, engine.now)
        enter_request_phase(engine, request, REQUEST_BODY)
        if exchange.want_continue:
            exchange.want_continue = False
            send_continue(&connection.handle.transport)
    return RECEIVE_MORE


cdef bint shake_hands(Engine *engine, Connection *connection) noexcept nogil:
    """Continue the handshake of the transport. Returns True once it is done.

    If a step computes, another thread does it, and the request comes back. If the handshake fails, the timer ends the
    connection at once, so that the caller may still look at it.
    """
    cdef int result
    if transport_handshake_computes(&connection.handle.transport):
        if not handshake_submit(engine, &connection.request):
            fail_handshake(engine, connection)
        return False
    result = transport_handshake(&connection.handle.transport)
    if is_want(result):
        poller_note_want(&engine.poller, &connection.handle, result)
        return False
    if result < 0:
        fail_handshake(engine, connection)
        return False
    return handshake_done(engine, connection)


cdef void fail_handshake(Engine *engine, Connection *connection) noexcept nogil:
    """Let the timer end a connection at once: its handshake has failed, or too many others wait for theirs."""
    connection.request.since = 0
    wheel_set(&engine.wheel, &connection.timer, engine.now)


cdef bint handshake_done(Engine *engine, Connection *connection) noexcept nogil:
    """Begin with a connection whose handshake is done. Returns False if it must be rejected."""
    enter_phase(engine, connection, PHASE_SILENT)
    if connection.rejected:  # may free it, so it is put off to the next cycle
        engine_defer(engine, &connection.request)
        return False
    return True


cdef void handshake_returned(Engine *engine, Connection *connection) noexcept nogil:
    """Go on with a connection after another thread has done a step of its handshake. May free it."""
    cdef int end = connection.request.end
    if end == HANDSHAKE_FAILED:
        close_now(engine, connection)
    elif end != HANDSHAKE_DONE:
        poller_note_want(&engine.poller, &connection.handle, WANT_READ if end == HANDSHAKE_WANTS_READ else WANT_WRITE)
    elif handshake_done(engine, connection):
        connection.handle.readable = True  # the event for bytes that came during the handshake has passed
        engine.poller.resume(&engine.poller, &connection.handle)


cdef char *on_room(void *engine_, Handle *handle, size_t *room) noexcept nogil:
    """Return where the poller receives to. NULL: a worker owns the connection, or its response goes first."""
    cdef Engine *engine = <Engine *> engine_
    cdef Connection *connection = <Connection *> handle
    cdef Request *request = &connection.request
    cdef char *data = NULL
    if not owner_note_event(&request.owner):
        return NULL
    note_released(connection)
    if request.phase == REQUEST_SENDING:
        return NULL
    if connection.phase == PHASE_HANDSHAKE and not shake_hands(engine, connection):
        return NULL
    if connection.phase != PHASE_LINGER:
        if request.exchange == NULL:
            request.exchange = pool_get(&engine.pool)
            if request.exchange == NULL:
                return NULL  # memory is short: the phase's deadline ends the connection
            if connection.awaits_proxy:
                request.exchange.phase = EXCHANGE_PROXY
        data = exchange_room(request.exchange, &engine.limits, room)
    if data == NULL:
        data = engine.scratch
        room[0] = SCRATCH_BYTES
    return data


cdef int on_proxy_header(Engine *engine, Connection *connection, char *data, size_t length) noexcept nogil:
    """Take bytes of a PROXY header. When it is complete, begin as if its client had connected.

    Returns RECEIVE_*.
    """
    cdef Exchange *exchange = connection.request.exchange
    cdef int framed = exchange_received(exchange, &engine.limits, data, length)
    if exchange.phase == EXCHANGE_PROXY:
        if framed < 0:
            refuse(engine, &connection.request, -framed, REASON_NONE)
        elif connection.phase == PHASE_SILENT:
            enter_request_phase(engine, &connection.request, REQUEST_HEAD)
        return RECEIVE_MORE
    connection.awaits_proxy = False
    timeline_begin(&exchange.timeline, connection.accepted_ns, engine.now)
    if exchange.proxy.address_length > 0:
        connection.address_length = exchange.proxy.address_length
        memcpy(connection.address, exchange.proxy.address, connection.address_length)
        if engine.clients.limit > 0 and not admit(engine, connection):
            return reject(engine, connection)
    enter_phase(engine, connection, PHASE_SILENT)
    if exchange.filled == 0:
        pool_put(&engine.pool, exchange)
        connection.request.exchange = NULL
        return RECEIVE_MORE
    return advance(engine, &connection.request, framed)


cdef int on_received(void *engine_, Handle *handle, char *data, ssize_t length) noexcept nogil:
    """Take received bytes. Returns RECEIVE_*; RECEIVE_GONE: the connection was freed."""
    cdef Engine *engine = <Engine *> engine_
    cdef Connection *connection = <Connection *> handle
    cdef Request *request = &connection.request
    cdef int phase = request.phase
    if length == -EAGAIN:
        if phase == REQUEST_NONE and request.exchange != NULL:
            pool_put(&engine.pool, request.exchange)
            request.exchange = NULL
        return RECEIVE_MORE
    if length <= 0:
        if phase == REQUEST_HEAD or phase == REQUEST_BODY:
            client_disconnected(engine, connection)
        else:
            close_now(engine, connection)
        return RECEIVE_GONE
    if connection.phase == PHASE_LINGER:
        return RECEIVE_MORE
    if connection.awaits_proxy:
        return on_proxy_header(engine, connection, data, length)
    if phase == REQUEST_BODY:
        connection.pace.moved += length
    elif phase != REQUEST_HEAD:
        timeline_begin(&request.exchange.timeline, connection.accepted_ns, engine.now)
    return advance(engine, request, exchange_received(request.exchange, &engine.limits, data, length))


cdef void on_hangup(void *engine_, Handle *handle, bint broken) noexcept nogil:
    """Note that the client sends no more, or is gone. May free the connection."""
    cdef Engine *engine = <Engine *> engine_
    cdef Connection *connection = <Connection *> handle
    cdef unsigned char peer = PEER_HERE
    if broken:
        store_uchar(&connection.peer, PEER_GONE)
    else:
        cas_uchar(&connection.peer, &peer, PEER_ENDED)  # unless it is PEER_GONE
    if not owner_note_event(&connection.request.owner):
        if not broken:
            wheel_set(&engine.wheel, &connection.timer, engine.now + PROBE_AFTER)
        return
    note_released(connection)
    if connection.request.phase == REQUEST_SENDING:
        if broken:
            client_disconnected(engine, connection)
        return  # half-closed: it still reads
    if connection.phase == PHASE_HANDSHAKE and not broken:
        return  # the transport finds out whether it can go on
    if connection.request.phase in (REQUEST_HEAD, REQUEST_BODY):
        client_disconnected(engine, connection)
    else:
        close_now(engine, connection)


cdef void probe_client(Engine *engine, Request *request) noexcept nogil:
    """Find out whether a client that sends no more, and whose request waits in the queue, still reads.

    A client that closed its socket looks the same as one that closed only its sending half, until something is sent to
    it. The closed socket then answers with a reset, and no worker runs the request. An interim response may be sent at
    any time (RFC 9110 15.2), but not to HTTP/1.0. While it is sent, the queue is held, so that no worker takes the
    request and begins its response.
    """
    if not queue_hold(engine.queue, request.ticket, request):
        return
    if request.exchange.head.minor >= 1 and not request.probed:
        request.probed = True
        send_continue(&connection_of(request).handle.transport)
    queue_unhold(engine.queue)


cdef void next_request(Engine *engine, Connection *connection) noexcept nogil:
    """Continue with the next request once a response is complete and the connection stays, or wait for one.

    If this process leaves, try to hand the connection off instead. May free the connection.
    """
    cdef Exchange *exchange = connection.request.exchange
    cdef int result = RECEIVE_MORE
    enter_phase(engine, connection, PHASE_IDLE)
    if exchange != NULL:
        if exchange_has_more(exchange):
            exchange_follow(exchange)
        else:
            pool_put(&engine.pool, exchange)
            connection.request.exchange = exchange = NULL
    if handoff_connection(engine, connection):
        return
    if exchange != NULL:
        timeline_begin(&exchange.timeline, connection.accepted_ns, engine.now)
        result = advance(engine, &connection.request, exchange_received(
            exchange, &engine.limits, exchange.data + exchange.filled, 0))
    if result == RECEIVE_MORE:
        engine.poller.resume(&engine.poller, &connection.handle)


cdef void on_returned(Engine *engine, Request *request) noexcept nogil:
    """Take a request back from a worker, and act on its phase. May free the connection."""
    cdef Connection *connection = connection_of(request)
    cdef bint cut
    owner_take_back(&request.owner)
    cut = request.phase == REQUEST_DONE and request.end == END_CUTS
    if request.phase == REQUEST_DONE and request.end != END_STAYS:
        begin_phase(connection, PHASE_LINGER)
    note_released(connection)
    if connection.phase == PHASE_CLOSED_NOTIFY:
        change_request_phase(request, REQUEST_NONE)
        connection_free(engine, connection)
    elif cut or load_uchar(&connection.peer) == PEER_GONE:
        close_now(engine, connection)
    elif request.phase == REQUEST_SENDING:
        start_sending(engine, request)
        continue_response(engine, request)
    elif connection.phase == PHASE_LINGER:
        linger(engine, connection)
        engine.poller.resume(&engine.poller, &connection.handle)
    elif connection.phase == PHASE_HANDSHAKE:
        handshake_returned(engine, connection)
    elif connection.rejected:
        connection.rejected = False
        connection.handle.readable = True
        if reject(engine, connection) != RECEIVE_GONE:
            engine.poller.resume(&engine.poller, &connection.handle)
    else:
        check(connection.phase == PHASE_IDLE, "a worker returned a request in a phase of the engine's")
        next_request(engine, connection)


cdef void continue_response(Engine *engine, Request *request) noexcept nogil:
    """Send more of a response, and go on with the next request once all is sent. May free the connection."""
    if send_outbox(engine, request):
        next_request(engine, connection_of(request))


cdef void on_announced(Engine *engine, Outbox *outbox) noexcept nogil:
    """Continue to send an outbox to which its worker has added. May free its connection."""
    cdef Request *request = <Request *> outbox.request
    swap_uint(&outbox.announced, 0)
    if request != NULL and request.outbox == outbox and owner_is(&request.owner, OWNER_ENGINE):
        request.since = engine.now
        continue_response(engine, request)


cdef void on_sendable(void *engine_, Handle *handle) noexcept nogil:
    """Continue to send: the socket takes more. May free the connection."""
    cdef Engine *engine = <Engine *> engine_
    cdef Connection *connection = <Connection *> handle
    if not owner_is(&connection.request.owner, OWNER_ENGINE):
        return
    if connection.request.phase == REQUEST_SENDING:
        continue_response(engine, &connection.request)
    elif connection.phase == PHASE_HANDSHAKE:
        if shake_hands(engine, connection):
            connection.handle.readable = True  # the event for bytes that came during the handshake has passed
            engine.poller.resume(&engine.poller, &connection.handle)
    elif connection.finishing:
        finish_sending(engine, connection)


cdef void on_timer(Engine *engine, Connection *connection) noexcept nogil:
    """Check a connection whose timer is due. May free the connection."""
    cdef Request *request = &connection.request
    cdef int64_t again = INT64_MAX
    cdef int follows
    cdef unsigned int owner = load_uint(&request.owner)
    if owner != OWNER_ENGINE:
        if connection.phase == PHASE_HANDSHAKE:  # a step of it is done elsewhere, and not for long
            wheel_set(&engine.wheel, &connection.timer, engine.now + CHECK_AGAIN)
            return
        if owner == OWNER_QUEUE + OWNER_EVENT and load_uchar(&connection.peer) == PEER_ENDED:
            probe_client(engine, request)
        owner &= OWNER_MASK
        if owner == OWNER_QUEUE:
            again = check_queued(engine, request)
        elif owner == OWNER_WORKER:
            again = check_turn(engine, request)
        else:
            again = engine.now + CHECK_AGAIN  # it is on its way back
        if again > 0:
            wheel_set(&engine.wheel, &connection.timer, again)
        return
    note_released(connection)
    if connection.phase == PHASE_CLOSED_NOTIFY:
        notify_closed(engine, connection)
        return
    if request.phase == REQUEST_SENDING:
        again = check_response(engine, request)
        if again == 0:
            return
        note_progress(engine, connection)
    if deadline_of(engine, connection) > engine.now and not is_slow(engine, connection):
        wheel_set(&engine.wheel, &connection.timer, min(again, next_check(engine, connection)))
        return
    follows = late(awaited_of(connection))
    if follows == LATE_REFUSE:
        refuse(engine, request, LATE_STATUS, REASON_LATE_PROXY if connection.awaits_proxy else REASON_NONE)
    elif follows == LATE_RESET:
        transport_abort(&connection.handle.transport)
        note_outcome(request, OUTCOME_DISCONNECTED, REASON_READING)
        client_disconnected(engine, connection)
    elif (
        connection.phase not in (PHASE_LINGER, PHASE_HANDSHAKE)
        and transport_peek(&connection.handle.transport) == PEEK_BYTES
    ):
        wheel_set(&engine.wheel, &connection.timer, engine.now + SECOND)  # a request arrived just now
        engine.poller.resume(&engine.poller, &connection.handle)  # or earlier, when there was no memory for it
    else:
        close_now(engine, connection)
