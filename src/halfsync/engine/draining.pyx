"""Let a running engine end: the commands to it, and what becomes of the connections that are at rest.

While the engine hands off, or drains, it serves on. In each cycle it looks at every connection: those that wait for
nothing are handed off or closed, and once none is left on which something was received, the engine has finished.
"""
from libc.stdint cimport int64_t, uint32_t

from halfsync.engine.connection_close cimport close_now
from halfsync.engine.connections cimport connection_at
from halfsync.engine.engine cimport SLAB, Connection, engine_wake
from halfsync.engine.handoff cimport handoff_connection, handoff_wait
from halfsync.engine.phases cimport (
    PHASE_FREE, PHASE_HANDSHAKE, PHASE_IDLE, PHASE_LINGER, PHASE_SILENT, REQUEST_HEAD,
)
from halfsync.engine.transitions cimport engine_owns
from halfsync.exchange.deadlines cimport newcomer_deadline
from halfsync.exchange.lingering cimport linger_may_end
from halfsync.native.sync cimport load_uchar
from halfsync.shared.command cimport COMMAND_DRAIN, COMMAND_HANDOFF, command_give
from halfsync.transport.transport cimport (
    PEEK_BYTES, PEER_HERE, transport_may_move, transport_peek, transport_unacknowledged,
)

cdef enum:
    HANDOFFS_PER_TURN = 64  # before requests have their turn

cdef int64_t DRAIN_WAIT = 10000000  # ns; how often a draining engine checks whether it has finished


cdef void engine_command(Engine *engine, int command) noexcept nogil:
    """Tell a running engine to hand off, drain or stop. An engine that cannot hand off drains instead."""
    if command == COMMAND_HANDOFF and engine.handoff_fd < 0:
        command = COMMAND_DRAIN
    command_give(&engine.command, command)
    engine_wake(engine)


cdef bint hand_off(Engine *engine, Connection *connection, int *handed) noexcept nogil:
    """Hand off a connection, if it is at rest. Returns True once it is freed here.

    If the client sends no more, the connection ends as soon as the engine sees that end.
    """
    if (
        handed[0] == HANDOFFS_PER_TURN
        or not (connection.phase in (PHASE_IDLE, PHASE_SILENT) or connection.request.phase == REQUEST_HEAD)
        or load_uchar(&connection.peer) != PEER_HERE or not handoff_connection(engine, connection)
    ):
        return False
    handed[0] += 1
    return True


cdef bint close_idle(Engine *engine, Connection *connection) noexcept nogil:
    """Close a connection that waits for a request, unless one has just arrived. Returns True once it is freed."""
    if connection.phase not in (PHASE_HANDSHAKE, PHASE_SILENT, PHASE_IDLE):
        return False
    if connection.phase != PHASE_IDLE and engine.now < newcomer_deadline(&engine.timeouts, connection.request.since):
        return False
    if transport_peek(&connection.handle.transport) == PEEK_BYTES:
        return False
    close_now(engine, connection)
    return connection.phase == PHASE_FREE


cdef bint close_bound(Engine *engine, Connection *connection) noexcept nogil:
    """Close an idle connection that cannot be handed off, after a moment in which a request on its way is answered.

    The moment begins when a leaving engine first finds it idle; `probed` of its request, which none has, says so.
    Returns True once it is freed.
    """
    if connection.phase == PHASE_IDLE and not connection.request.probed:
        connection.request.probed = True
        connection.request.since = engine.now
    if (
        connection.phase not in (PHASE_SILENT, PHASE_IDLE)
        or engine.now < newcomer_deadline(&engine.timeouts, connection.request.since)
        or transport_peek(&connection.handle.transport) == PEEK_BYTES
    ):
        return False
    close_now(engine, connection)
    return connection.phase == PHASE_FREE


cdef bint finish_connections(Engine *engine, unsigned int command) noexcept nogil:
    """Hand off or close connections that wait for nothing. Returns True if none is left with something received."""
    cdef uint32_t index
    cdef bint finished = True
    cdef int handed = 0
    cdef bint ended
    cdef Connection *connection
    for index in range(engine.slabs_count * SLAB):
        connection = connection_at(engine, index)
        if connection.phase == PHASE_FREE:
            continue
        if not engine_owns(connection):
            ended = False
        elif connection.phase == PHASE_LINGER:
            ended = linger_may_end(True, transport_unacknowledged(&connection.handle.transport))  # closed with the rest
        elif command != COMMAND_HANDOFF:
            ended = close_idle(engine, connection)
        elif transport_may_move(&connection.handle.transport):
            ended = hand_off(engine, connection, &handed)
        else:
            ended = close_bound(engine, connection)
        finished = finished and ended
    engine.handoff_unfinished = handed == HANDOFFS_PER_TURN
    return finished


cdef int64_t command_wait(Engine *engine, unsigned int command) noexcept nogil:
    """Return how long an engine that obeys this command may wait at most, in ns."""
    return handoff_wait(engine) if command == COMMAND_HANDOFF else DRAIN_WAIT
