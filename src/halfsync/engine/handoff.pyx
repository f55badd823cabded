"""Hand the connections of a leaving process off to any process that adopts them, as each comes to rest.

A connection is at rest between two requests, or while at most a part of a head has been received. A connection that
cannot be handed off now is served here as before, and tried again: nothing waits for the hand-off. Once no process is
left to adopt, the engine drains.
"""
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

from halfsync.engine.connections cimport connection_at, connection_detach
from halfsync.engine.engine cimport COMMAND_DRAIN, COMMAND_HANDOFF, SLAB
from halfsync.engine.phases cimport (
    OWNER_ENGINE, PHASE_FREE, PHASE_IDLE, PHASE_LINGER, PHASE_SILENT, REQUEST_HEAD, owner_is,
)
from halfsync.engine.transitions cimport engine_owns
from halfsync.listening.endpoints cimport endpoint_at
from halfsync.native.checks cimport check
from halfsync.native.sync cimport cas_uint, load_uint, store_uint
from halfsync.shared.handoff_queue cimport (
    HANDOFF_BYTES, HANDOFF_LATER, HANDOFF_NO_READER, HANDOFF_SENT, HandoffRecord, handoff_send,
)
from halfsync.transport.transport cimport PEER_HERE, transport_may_move, transport_unacknowledged

cdef enum:
    HANDOFFS_PER_TURN = 64  # before requests have their turn

cdef int64_t HANDOFF_WAIT = 10000000  # ns; how often to look for connections that came to rest unnoticed
cdef int64_t HANDOFF_RETRY = 5000000  # ns; after the queue was full


cdef int handoff_open(Engine *engine, int queue) noexcept nogil:
    """Hand off to this queue; the engine keeps a copy of its writing end. Before the start only. Returns 0 or -errno.
    """
    engine.handoff_fd = fcntl(queue, F_DUPFD_CLOEXEC, 3)
    return 0 if engine.handoff_fd >= 0 else -errno


cdef void handoff_close(Engine *engine) noexcept nogil:
    """Close the engine's copy of the queue."""
    if engine.handoff_fd >= 0:
        close(engine.handoff_fd)
        engine.handoff_fd = -1


cdef void drain_instead(Engine *engine) noexcept nogil:
    """Begin to drain: no process is left that could adopt."""
    cdef unsigned int command = COMMAND_HANDOFF
    if cas_uint(&engine.command, &command, COMMAND_DRAIN):
        store_uint(&engine.closing_keepalives, 1)


cdef bint handoff_connection(Engine *engine, Connection *connection) noexcept nogil:
    """Hand off a connection at rest to another process, if this process leaves. Returns True once it is freed here.

    Its exchange, if there is one, holds what was received and not framed, from the beginning of `data`.
    """
    cdef HandoffRecord handoff
    cdef int sent
    if load_uint(&engine.command) != COMMAND_HANDOFF or engine.now < engine.handoff_again:
        return False
    check(owner_is(&connection.request.owner, OWNER_ENGINE), "a connection is handed over that the engine does not own")
    check(connection.request.outbox == NULL, "a connection is handed over in the middle of a response")
    handoff.length = 0
    handoff.data = NULL
    if connection.request.exchange != NULL:
        handoff.data = connection.request.exchange.data
        handoff.length = connection.request.exchange.filled
    if (
        connection.request.app_state != NULL or handoff.length > HANDOFF_BYTES
        or not transport_may_move(&connection.transport)
    ):
        return False
    handoff.fd = connection.transport.fd
    handoff.endpoint = endpoint_at(engine.endpoints, connection.listener)[0]
    handoff.awaits_proxy = connection.awaits_proxy
    handoff.requests = connection.requests
    handoff.address_length = connection.address_length
    memcpy(handoff.address, connection.address, connection.address_length)
    sent = handoff_send(engine.handoff_fd, &handoff)
    if sent == HANDOFF_SENT:
        engine.counters.handed_over += 1
        connection_detach(engine, connection)
        return True
    if sent == HANDOFF_LATER:
        engine.handoff_again = engine.now + HANDOFF_RETRY
    elif sent == HANDOFF_NO_READER:
        drain_instead(engine)
    return False


cdef bint is_at_rest(const Connection *connection) noexcept nogil:
    """Return whether a connection of the engine's waits for a request, or for the rest of a head."""
    return connection.phase in (PHASE_IDLE, PHASE_SILENT) or connection.request.phase == REQUEST_HEAD


cdef bint finish_handoff(Engine *engine) noexcept nogil:
    """Hand off some of the connections at rest. Returns True if none is left on which something was received."""
    cdef uint32_t index
    cdef bint finished = True
    cdef int handed = 0
    cdef Connection *connection
    for index in range(engine.slabs_count * SLAB):
        connection = connection_at(engine, index)
        if connection.phase == PHASE_FREE:
            continue
        if not engine_owns(connection):
            finished = False
        elif is_at_rest(connection):
            # If the client sends no more, the connection ends as soon as the engine sees that end.
            if (
                handed < HANDOFFS_PER_TURN and load_uint(&connection.peer) == PEER_HERE
                and handoff_connection(engine, connection)
            ):
                handed += 1
            else:
                finished = False
        elif connection.phase != PHASE_LINGER or transport_unacknowledged(&connection.transport) > 0:
            finished = False  # a lingering one is closed with the rest once its client has the whole response
    engine.handoff_unfinished = handed == HANDOFFS_PER_TURN
    return finished


cdef int64_t handoff_wait(Engine *engine) noexcept nogil:
    """Return how long a leaving engine may wait at most, in ns."""
    if engine.handoff_again > engine.now:
        return min(HANDOFF_WAIT, engine.handoff_again - engine.now)
    return 0 if engine.handoff_unfinished else HANDOFF_WAIT
