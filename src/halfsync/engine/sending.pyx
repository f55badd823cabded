"""Send a response that lies in an outbox, at the speed at which its client reads it. On the engine's thread."""
from libc.stdint cimport int64_t
from posix.uio cimport iovec

from halfsync.engine.connection_close cimport client_disconnected, close_now, linger, note_outcome, save_app_state
from halfsync.engine.engine cimport Connection, connection_of, engine_announce, engine_end_request
from halfsync.engine.poller cimport POLLER_LATER, poller_send, poller_send_file
from halfsync.exchange.outbox cimport (
    NEXT_ENDED, NEXT_MEMORY, NEXT_WAIT, OUTBOX_COMPLETE, OUTBOX_RESET, Outbox, Segment, VECTORS_MAX, outbox_abandon,
    outbox_next, outbox_note_sent, outbox_release, outbox_sent, outbox_settle,
)
from halfsync.exchange.outcome cimport OUTCOME_ERROR, OUTCOME_OK
from halfsync.exchange.reasons cimport REASON_CUT, REASON_FILE, REASON_NONE
from halfsync.native.checks cimport check
from halfsync.transport.transport cimport transport_abort, transport_cut

cdef enum:
    SENDS_PER_VISIT = 4  # of one outbox before others are visited


cdef bint send_outbox(Engine *engine, Request *request) noexcept nogil:
    """Send what the outbox holds, while the socket takes it, up to SENDS_PER_VISIT pieces. See the .pxd."""
    cdef Connection *connection = connection_of(request)
    cdef Outbox *outbox = request.outbox
    cdef iovec vectors[VECTORS_MAX]
    cdef Segment *segment
    cdef int64_t sent
    cdef int count, what
    cdef int _visits
    for _visits in range(SENDS_PER_VISIT):
        what = outbox_next(outbox, vectors, &count, &segment)
        if what == NEXT_WAIT:
            connection.pace.since = 0  # the client is not what is slow now
            return False
        if what == NEXT_ENDED:
            return end_response(engine, request)
        if what == NEXT_MEMORY:
            sent = poller_send(&engine.poller, &connection.handle, vectors, count, segment != NULL)
        else:
            sent = poller_send_file(
                &engine.poller, &connection.handle, segment.fd, segment.offset, vectors[0].iov_len)
        if sent == POLLER_LATER:
            return False
        if sent < 0:  # perhaps memory is short, or the file fails: the client is there, and must see a cut
            transport_abort(&connection.handle.transport)
            client_disconnected(engine, connection)
            return False
        if sent == 0:
            transport_abort(&connection.handle.transport)  # the file is now shorter than was promised
            note_outcome(request, OUTCOME_ERROR, REASON_FILE)
            close_now(engine, connection)
            return False
        request.since = engine.now
        connection.pace.moved += sent
        outbox_sent(outbox, sent)
        outbox_note_sent(outbox, sent, engine.now)
    engine_announce(engine, outbox)  # the rest in the next cycle
    return False


cdef bint end_response(Engine *engine, Request *request) noexcept nogil:
    """Finish a response: release its outbox, and end the connection unless it stays. Returns as send_outbox."""
    cdef Connection *connection = connection_of(request)
    cdef Outbox *outbox = request.outbox
    cdef int end = outbox.end
    cdef bint keep_alive = outbox.keep_alive
    check(request.exchange == NULL, "a request has two exchanges")
    if end == OUTBOX_COMPLETE:
        note_outcome(request, OUTCOME_OK, REASON_NONE)
    else:
        note_outcome(request, OUTCOME_ERROR, REASON_CUT)
    request.exchange = outbox_abandon(outbox)
    if request.exchange != NULL:
        outbox_settle(outbox, request.exchange)
        save_app_state(request, request.exchange)
    engine_end_request(engine, request.exchange, connection.address, connection.address_length, engine.now)
    request.outbox = NULL
    outbox_release(outbox)
    if end != OUTBOX_COMPLETE:
        if end == OUTBOX_RESET:
            transport_abort(&connection.handle.transport)
        else:
            transport_cut(&connection.handle.transport, False)
        close_now(engine, connection)
    elif keep_alive:
        return True
    else:
        linger(engine, connection)
        engine.poller.resume(&engine.poller, &connection.handle)
    return False
