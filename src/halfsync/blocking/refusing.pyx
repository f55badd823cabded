# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""What the server answers itself, and how it lets a client take its last response before it closes (RFC 9112 9.6).

`refuse` and `linger` are for the thread that has the connection, and wait for the client; `shed` and `discard` are for
the thread that accepts, and never wait.
"""
from libc.stdint cimport int64_t

from halfsync.blocking.connection cimport drop_exchange, leave_client
from halfsync.blocking.records cimport SCRATCH_BYTES, is_leaving
from halfsync.blocking.sink cimport BlockingSink, blocking_sink, sink_bytes
from halfsync.blocking.waiting cimport WAITED_READY, WAITED_TOLD, wait_idle
from halfsync.exchange.exchange cimport Exchange, exchange_error
from halfsync.http.response_head cimport ERROR_BYTES
from halfsync.native.sync cimport add_llong, monotonic_ns
from halfsync.observe.access cimport log_exchange, log_unheard
from halfsync.observe.refusals cimport refusals_note
from halfsync.transport.transport cimport (
    is_want, transport_abort, transport_finish, transport_receive, transport_send_whole, transport_shakes_hands,
)

cdef enum:
    DISCARDS = 128  # receives before a close: more than a socket's buffer holds


cdef void refuse(CarrierRecord *carrier, ClientRecord *client, int status) noexcept nogil:
    """Answer with an error, and end the conversation: nothing after it is read as a request.

    If the client has a reason, that is told.
    """
    cdef char response[ERROR_BYTES]
    cdef Exchange *exchange = client.exchange
    cdef int64_t body
    cdef int length = exchange_error(exchange, status, &carrier.fields, False, response, &body)
    cdef BlockingSink sink
    add_llong(&carrier.tally.refused, 1)
    note_refusal(carrier, client, status, client.reason)
    blocking_sink(&sink, &client.transport, carrier.stop_fd, &carrier.timeouts, NULL)
    sink_bytes(&sink, response, length)
    if exchange != NULL:
        log_turn(carrier, client)
        drop_exchange(carrier, client)
    if not sink.gone:
        linger(carrier, client)


cdef void note_refusal(CarrierRecord *carrier, ClientRecord *client, int status, const char *reason) noexcept nogil:
    """Note why a client is refused. status: of the answer; 0: it is closed without one. reason: as for refusals_note.
    """
    refusals_note(carrier.refusals, client.exchange, client.address, client.address_length, status, reason)


cdef void linger(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Say that nothing more will be sent, and drop what still comes until the client closes (RFC 9112 9.6)."""
    cdef char scratch[SCRATCH_BYTES]
    cdef int64_t deadline = monotonic_ns() + carrier.timeouts.linger
    cdef ssize_t length = transport_finish(&client.transport)
    cdef bint finishing = is_want(length)
    cdef int _, waited
    cdef bint bell
    while monotonic_ns() < deadline:
        bell = not is_leaving(carrier)
        waited = wait_idle(carrier, &client.transport, <int> length, deadline, bell)
        if waited == WAITED_TOLD and bell and is_leaving(carrier):
            continue
        if waited != WAITED_READY:
            break
        if finishing:
            length = transport_finish(&client.transport)
            finishing = is_want(length)
            continue
        length = transport_receive(&client.transport, scratch, SCRATCH_BYTES)
        if length == 0 or (length < 0 and not is_want(length)):
            return
    for _ in range(DISCARDS):  # closing with unread bytes would reset the connection, and lose the response's rest
        if transport_receive(&client.transport, scratch, SCRATCH_BYTES) <= 0:
            return


cdef void log_turn(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Log a request whose response has ended, or broken off."""
    if carrier.access != NULL:
        log_exchange(carrier.access, client.exchange, client.address, client.address_length, monotonic_ns())


cdef bint shed(CarrierRecord *carrier, ClientRecord *client, const char *reason) noexcept nogil:
    """Answer 503 to a newcomer, without waiting for anything. Returns False when nothing could be said.

    The client is then the caller's to close, once it has had time to read the answer.
    """
    cdef char response[ERROR_BYTES]
    cdef int64_t body
    cdef int length
    add_llong(&carrier.tally.shed, 1)
    leave_client(carrier, client)
    note_refusal(carrier, client, 503, reason)
    if carrier.limits.raw or transport_shakes_hands(&client.transport):  # it can be told nothing, or not yet
        transport_abort(&client.transport)
        return False
    length = exchange_error(NULL, 503, &carrier.fields, False, response, &body)
    transport_send_whole(&client.transport, response, length)
    transport_finish(&client.transport)
    if carrier.access != NULL:
        log_unheard(carrier.access, client.address, client.address_length, 503, body)
    return True


cdef bint discard(ClientRecord *client) noexcept nogil:
    """Drop some of what a client still sends that is told to leave. Returns False when it has left. Never waits."""
    cdef char scratch[SCRATCH_BYTES]
    cdef ssize_t length
    cdef int _
    for _ in range(DISCARDS):
        length = transport_receive(&client.transport, scratch, SCRATCH_BYTES)
        if length <= 0:
            return is_want(length)
    return True
