# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""What the server answers itself, and how it lets a client take its last response before it closes (RFC 9112 9.6).

`refuse` and `linger` are for the thread that has the connection, and wait for the client; `shed` and `discard` are for
the thread that accepts, and never wait.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t

from halfsync.blocking.connection cimport drop_exchange, leave_client
from halfsync.blocking.records cimport SCRATCH_BYTES, is_leaving
from halfsync.blocking.sink cimport BlockingSink, blocking_sink, sink_bytes
from halfsync.blocking.waiting cimport WAITED_READY, WAITED_TOLD, wait_idle
from halfsync.engine.poller cimport reset_on_close
from halfsync.exchange.exchange cimport Exchange, exchange_refuse
from halfsync.http.response cimport REFUSAL_BYTES
from halfsync.native.sync cimport add_llong, monotonic_ns
from halfsync.observe.access cimport log_exchange, log_unheard
from halfsync.observe.refusals cimport refusals_note

cdef extern from "<sys/socket.h>" nogil:
    const int MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR
    ssize_t c_recv "recv" (int fd, void *data, size_t length, int flags)
    ssize_t c_send "send" (int fd, const void *data, size_t length, int flags)
    int shutdown(int fd, int how)

cdef enum:
    DISCARDS = 128  # receives before a close: more than a socket's buffer holds


cdef void refuse(CarrierRecord *carrier, ClientRecord *client, int status) noexcept nogil:
    """Answer with an error, and end the conversation: nothing after it is read as a request.

    If the client has a reason, that is told.
    """
    cdef char response[REFUSAL_BYTES]
    cdef Exchange *exchange = client.exchange
    cdef int64_t body
    cdef int length = exchange_refuse(exchange, status, carrier.server_header, response, &body)
    cdef BlockingSink sink
    add_llong(&carrier.tally.refused, 1)
    note_refusal(carrier, client, status, client.reason)
    blocking_sink(&sink, client.fd, carrier.stop_fd, &carrier.timeouts, NULL)
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
    cdef ssize_t length
    cdef int _, waited
    cdef bint bell
    shutdown(client.fd, SHUT_WR)
    while monotonic_ns() < deadline:
        bell = not is_leaving(carrier)
        waited = wait_idle(carrier, client.fd, deadline, bell)
        if waited == WAITED_TOLD and bell and is_leaving(carrier):
            continue
        if waited != WAITED_READY:
            break
        length = c_recv(client.fd, scratch, SCRATCH_BYTES, MSG_DONTWAIT)
        if length == 0 or (length < 0 and errno != EINTR and errno != EAGAIN):
            return
    for _ in range(DISCARDS):  # closing with unread bytes would reset the connection, and lose the response's rest
        if c_recv(client.fd, scratch, SCRATCH_BYTES, MSG_DONTWAIT) <= 0:
            return


cdef void log_turn(CarrierRecord *carrier, ClientRecord *client) noexcept nogil:
    """Log a request whose response has ended, or broken off."""
    if carrier.access != NULL:
        log_exchange(carrier.access, client.exchange, client.address, client.address_length, monotonic_ns())


cdef bint shed(CarrierRecord *carrier, ClientRecord *client, const char *reason) noexcept nogil:
    """Answer 503 to a newcomer, without waiting for anything. Returns False when nothing could be said.

    The client is then the caller's to close, once it has had time to read the answer.
    """
    cdef char response[REFUSAL_BYTES]
    cdef int64_t body
    cdef int length
    add_llong(&carrier.tally.shed, 1)
    leave_client(carrier, client)
    note_refusal(carrier, client, 503, reason)
    if carrier.limits.raw:
        reset_on_close(client.fd)
        return False
    length = exchange_refuse(NULL, 503, carrier.server_header, response, &body)
    c_send(client.fd, response, length, MSG_DONTWAIT | MSG_NOSIGNAL)
    shutdown(client.fd, SHUT_WR)
    if carrier.access != NULL:
        log_unheard(carrier.access, client.address, client.address_length, 503, body)
    return True


cdef bint discard(ClientRecord *client) noexcept nogil:
    """Drop some of what a client still sends that is told to leave. Returns False when it has left. Never waits."""
    cdef char scratch[SCRATCH_BYTES]
    cdef ssize_t length
    cdef int _
    for _ in range(DISCARDS):
        length = c_recv(client.fd, scratch, SCRATCH_BYTES, MSG_DONTWAIT)
        if length <= 0:
            return length < 0 and (errno == EAGAIN or errno == EINTR)
    return True
