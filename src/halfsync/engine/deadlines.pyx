"""What exchange/deadlines and exchange/rates say of a connection in its phase.

Nothing here ends a connection: on_timer in connection_events.pyx asks, and acts on the answer.
"""
from libc.stdint cimport uint32_t

from halfsync.exchange.deadlines cimport AWAITS_BODY, AWAITS_READING, deadline_after
from halfsync.exchange.rates cimport is_too_slow, next_pace_check, pace_begin
from halfsync.transport.transport cimport transport_unacknowledged

cdef int64_t SECOND = 1000000000


cdef inline bint is_starved(const Connection *connection, int awaited) noexcept nogil:
    """Return whether the application makes the rest of the response that is being sent: the client is not late."""
    return awaited == AWAITS_READING and connection.request.outbox != NULL and connection.request.outbox.starved


cdef int64_t deadline_of(Engine *engine, const Connection *connection) noexcept nogil:
    """Return when the connection's phase must have ended or made progress, in ns."""
    cdef int awaited = awaited_of(connection)
    if is_starved(connection, awaited):
        return engine.now + SECOND
    return deadline_after(
        &engine.timeouts, awaited, connection.request.since,
        connection.request.exchange.timeline.first_byte_ns if awaited == AWAITS_BODY else 0)


cdef void note_progress(Engine *engine, Connection *connection) noexcept nogil:
    """Count it as progress if the client has acknowledged more since the timer last looked.

    A socket takes more only once a good part of its buffer is free. A client that reads, but slowly, may not reach that
    point within the write deadline. So its pace, too, counts what it has acknowledged: what the socket took since the
    last look, plus the decrease in what the socket holds.
    """
    cdef int64_t unsent = transport_unacknowledged(&connection.handle.transport)
    if unsent < connection.unsent:
        connection.request.since = engine.now
    if connection.pace.since == 0:
        pace_begin(&connection.pace, engine.now)
    else:
        connection.pace.moved += connection.unsent - unsent
    connection.unsent = <uint32_t> unsent


cdef bint is_slow(Engine *engine, Connection *connection) noexcept nogil:
    """Return whether the client has moved less in a whole window than it must."""
    cdef int awaited = awaited_of(connection)
    return not is_starved(connection, awaited) and is_too_slow(
        &engine.timeouts, awaited, &connection.pace, engine.now)


cdef int64_t next_check(Engine *engine, const Connection *connection) noexcept nogil:
    """Return when the timer must check a connection: at its deadline, or sooner if its pace is judged."""
    cdef int awaited = awaited_of(connection)
    cdef int64_t deadline = next_pace_check(
        &engine.timeouts, awaited, &connection.pace, deadline_of(engine, connection), engine.now)
    cdef int64_t turn
    if awaited == AWAITS_READING and connection.request.lease != NULL:  # the application may not have made all of it
        turn = connection.request.lease.taken_ns + engine.timeouts.turn
        if turn > engine.now:
            deadline = min(deadline, turn)
    return deadline
