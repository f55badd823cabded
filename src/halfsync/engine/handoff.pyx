"""Leaving: the engine hands its connections over to whichever process adopts them, as each comes to rest.

A connection is at rest between two requests, or while it has sent no more than a part of a head. What cannot be handed
over just now is served here as ever, and tried again: nobody waits for the hand-over. Once nobody can adopt any more
the engine drains.
"""
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

from halfsync.engine.connections cimport connection_at, connection_give_away
from halfsync.engine.engine cimport (
    COMMAND_DRAIN, COMMAND_LEAVE, PEER_HERE, PHASE_FREE, PHASE_HEAD, PHASE_IDLE, PHASE_LINGER, PHASE_SILENT, SLAB,
)
from halfsync.engine.ownership cimport OWNER_ENGINE, owner_is
from halfsync.listening.endpoints cimport endpoint_at
from halfsync.native.checks cimport check
from halfsync.native.sync cimport cas_uint, load_uint, store_uint
from halfsync.shared.handoff_queue cimport (
    HANDOVER_BYTES, HANDOVER_DESERTED, HANDOVER_LATER, HANDOVER_SENT, Handover, handover_send,
)
from halfsync.transport.transport cimport transport_may_move, transport_unacknowledged

cdef enum:
    HANDED_PER_TURN = 64  # before requests have their turn

cdef int64_t LEAVE_WAIT = 10000000  # ns; how often to look for connections that came to rest without a word
cdef int64_t LATER = 5000000  # ns; after the queue was full


cdef int leaving_open(Engine *engine, int queue) noexcept nogil:
    """Hand over to this queue; the engine keeps a copy of its writing end. Before the start only. Returns 0 or -errno.
    """
    engine.leaving_fd = fcntl(queue, F_DUPFD_CLOEXEC, 3)
    return 0 if engine.leaving_fd >= 0 else -errno


cdef void leaving_close(Engine *engine) noexcept nogil:
    """Let go of the queue."""
    if engine.leaving_fd >= 0:
        close(engine.leaving_fd)
        engine.leaving_fd = -1


cdef void drain_instead(Engine *engine) noexcept nogil:
    """Begin to drain: nobody is left who could adopt."""
    cdef unsigned int command = COMMAND_LEAVE
    if cas_uint(&engine.command, &command, COMMAND_DRAIN):
        store_uint(&engine.draining, 1)


cdef bint hand_over(Engine *engine, Connection *connection) noexcept nogil:
    """Hand a connection at rest over to another process, if the engine leaves. Returns True once it is freed here.

    Its exchange, if there is one, holds what was received and not framed from data's beginning on.
    """
    cdef Handover handover
    cdef int sent
    if load_uint(&engine.command) != COMMAND_LEAVE or engine.now < engine.hand_over_again:
        return False
    check(owner_is(&connection.owner, OWNER_ENGINE), "a connection is handed over that the engine does not own")
    check(connection.outbox == NULL, "a connection is handed over in the middle of a response")
    handover.length = 0
    handover.data = NULL
    if connection.exchange != NULL:
        handover.data = connection.exchange.data
        handover.length = connection.exchange.filled
    if connection.kept != NULL or handover.length > HANDOVER_BYTES or not transport_may_move(&connection.transport):
        return False
    handover.fd = connection.transport.fd
    handover.endpoint = endpoint_at(engine.endpoints, connection.listener)[0]
    handover.awaits_proxy = connection.awaits_proxy
    handover.requests = connection.requests
    handover.address_length = connection.address_length
    memcpy(handover.address, connection.address, connection.address_length)
    sent = handover_send(engine.leaving_fd, &handover)
    if sent == HANDOVER_SENT:
        engine.counters.handed_over += 1
        connection_give_away(engine, connection)
        return True
    if sent == HANDOVER_LATER:
        engine.hand_over_again = engine.now + LATER
    elif sent == HANDOVER_DESERTED:
        drain_instead(engine)
    return False


cdef bint is_at_rest(const Connection *connection) noexcept nogil:
    """Tell whether a connection of the engine's waits for a request, or for the rest of a head."""
    return connection.phase in (PHASE_IDLE, PHASE_SILENT, PHASE_HEAD)


cdef bint finish_leave(Engine *engine) noexcept nogil:
    """Hand over some of those at rest, and tell whether no connection is left that something was received on."""
    cdef uint32_t index
    cdef bint finished = True
    cdef int handed = 0
    cdef Connection *connection
    for index in range(engine.slabs_count * SLAB):
        connection = connection_at(engine, index)
        if connection.phase == PHASE_FREE:
            continue
        if not owner_is(&connection.owner, OWNER_ENGINE):
            finished = False
        elif is_at_rest(connection):
            # One whose client sends no more is ended as soon as its end is seen.
            if handed < HANDED_PER_TURN and load_uint(&connection.peer) == PEER_HERE and hand_over(engine, connection):
                handed += 1
            else:
                finished = False
        elif connection.phase != PHASE_LINGER or transport_unacknowledged(&connection.transport) > 0:
            finished = False  # a lingering one is closed with the rest once its client has all of the response
    engine.hands_more = handed == HANDED_PER_TURN
    return finished


cdef int64_t leave_wait(Engine *engine) noexcept nogil:
    """Return how long a leaving engine may wait at most, in ns."""
    if engine.hand_over_again > engine.now:
        return min(LEAVE_WAIT, engine.hand_over_again - engine.now)
    return 0 if engine.hands_more else LEAVE_WAIT
