"""Limit how many connections each client has (max_connections_per_client).

A connection is counted once its client is known: when it is accepted or, behind the PROXY protocol, when its header has
been read. It counts until its socket is closed. A connection past the limit gets a 503, like a request that finds the
queue full, and lingers. Only REJECTED_LINGERING_MAX connections do so at a time: otherwise a client could use rejected
connections to hold the room that the limit denies it.
"""
from libc.stdint cimport int64_t, uint32_t

from halfsync.engine.connection_close cimport close_now
from halfsync.engine.engine cimport CLIENT_REJECTED
from halfsync.engine.phases cimport PHASE_LINGER
from halfsync.engine.poller cimport RECEIVE_GONE, RECEIVE_MORE
from halfsync.engine.responses cimport cut_stream, refuse
from halfsync.engine.transitions cimport begin_phase
from halfsync.exchange.lingering cimport REJECTED_LINGERING_MAX
from halfsync.exchange.reasons cimport REASON_CLIENT
from halfsync.shared.client_counts cimport CLIENT_OVER_LIMIT, client_key, counts_add


cdef bint admit(Engine *engine, Connection *connection) noexcept nogil:
    """Count a connection whose client has become known. Returns False if the client is at its limit."""
    cdef int64_t client_index = counts_add(&engine.clients, client_key(connection.address, connection.address_length))
    if client_index == CLIENT_OVER_LIMIT:
        return False
    connection.client_index = <uint32_t> client_index
    return True


cdef int reject(Engine *engine, Connection *connection) noexcept nogil:
    """Answer 503 to a connection that was not admitted. May free it. Returns RECEIVE_*."""
    engine.counters.limited += 1
    if engine.limits.raw:
        # Closing in this phase sends no end before the reset.
        begin_phase(connection, PHASE_LINGER)
        return cut_stream(engine, &connection.request, REASON_CLIENT)
    refuse(engine, &connection.request, 503, REASON_CLIENT)
    if engine.rejected_lingering >= REJECTED_LINGERING_MAX or engine.open > engine.open_max:  # it must not linger
        close_now(engine, connection)
        return RECEIVE_GONE
    engine.rejected_lingering += 1
    connection.client_index = CLIENT_REJECTED
    return RECEIVE_MORE
