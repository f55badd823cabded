"""When a connection's phase must end or make progress, and how fast its client must be.

Nothing here ends a connection: on_timer in connection_events.pyx asks, and acts on the answer.
"""
from halfsync.engine.engine cimport Request
from halfsync.engine.phases cimport (
    PHASE_HANDSHAKE, PHASE_IDLE, PHASE_LINGER, PHASE_SILENT, REQUEST_BODY, REQUEST_HEAD, REQUEST_SENDING,
)
from halfsync.exchange.rates cimport pace_begin, pace_fails
from halfsync.exchange.timeouts cimport Timeouts
from halfsync.transport.transport cimport transport_unacknowledged

cdef enum:
    CHECKS = 4  # of how much a client takes of a response, within its write deadline

cdef int64_t SECOND = 1000000000


cdef int64_t deadline_of(Engine *engine, const Connection *connection) noexcept nogil:
    """Return when the connection's phase must have ended or made progress, in ns."""
    cdef const Request *request = &connection.request
    cdef int phase = connection.phase
    cdef int64_t deadline
    if phase == PHASE_SILENT or phase == PHASE_HANDSHAKE:
        return connection.since + engine.timeouts.first_byte
    if phase == PHASE_IDLE:
        return connection.since + engine.timeouts.keep_alive
    if phase == PHASE_LINGER:
        return connection.since + engine.timeouts.linger
    if request.phase == REQUEST_HEAD:
        return request.since + engine.timeouts.head
    if request.phase == REQUEST_BODY:
        deadline = request.since + engine.timeouts.body
        if engine.timeouts.request > 0:
            deadline = min(deadline, request.exchange.started_ns + engine.timeouts.request)
        return deadline
    if request.outbox != NULL and request.outbox.starved:
        return engine.now + SECOND  # the application makes the response: the client is not late
    return request.since + engine.timeouts.write


cdef void note_progress(Engine *engine, Connection *connection) noexcept nogil:
    """Count it as progress if the client has acknowledged more since the timer last looked.

    A socket takes more only once a good part of its buffer is free. A client that reads, but slowly, may not reach that
    point within the write deadline. So its pace, too, counts what it has acknowledged: what the socket took since the
    last look, plus the decrease in what the socket holds.
    """
    cdef int64_t unsent = transport_unacknowledged(&connection.transport)
    if unsent < connection.unsent:
        connection.request.since = engine.now
    if connection.pace.since == 0:
        pace_begin(&connection.pace, engine.now)
    else:
        connection.pace.moved += connection.unsent - unsent
    connection.unsent = unsent


cdef bint is_slow(Engine *engine, Connection *connection) noexcept nogil:
    """Return whether the client has moved less in a whole window than it must."""
    cdef Timeouts *timeouts = &engine.timeouts
    if connection.request.phase == REQUEST_BODY:
        return pace_fails(&connection.pace, engine.now, timeouts.window, timeouts.least_received)
    if connection.request.phase == REQUEST_SENDING and not connection.request.outbox.starved:
        return pace_fails(&connection.pace, engine.now, timeouts.window, timeouts.least_taken)
    return False


cdef int64_t next_check(Engine *engine, const Connection *connection) noexcept nogil:
    """Return when the timer must check a connection: at its deadline, or sooner if its pace is judged."""
    cdef int64_t deadline = deadline_of(engine, connection)
    cdef int64_t turn
    if connection.request.phase == REQUEST_BODY:
        return min(deadline, connection.pace.since + engine.timeouts.window)
    if connection.request.phase == REQUEST_SENDING:
        deadline = min(deadline, engine.now + min(engine.timeouts.write, engine.timeouts.window) // CHECKS)
        if connection.request.lease != NULL:  # the application may not have made all of it
            turn = connection.request.lease.taken_ns + engine.timeouts.turn
            if turn > engine.now:
                deadline = min(deadline, turn)
    return deadline
