"""Hand the connections of a leaving process off to any process that adopts them, as each comes to rest.

A connection is at rest between two requests, or while at most a part of a head has been received. A connection that
cannot be handed off now is served here as before, and tried again: nothing waits for the hand-off. Once no process is
left to adopt, the engine drains.
"""
from libc.errno cimport errno
from libc.stdint cimport int64_t
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

from halfsync.engine.connections cimport connection_detach
from halfsync.engine.phases cimport OWNER_ENGINE, owner_is
from halfsync.listening.endpoints cimport endpoint_at
from halfsync.native.checks cimport check
from halfsync.native.sync cimport load_uint
from halfsync.shared.command cimport COMMAND_HANDOFF
from halfsync.shared.handoff cimport HANDOFF_RETRY_NS, handoff_describe, handoff_offer
from halfsync.shared.handoff_queue cimport HANDOFF_LATER, HANDOFF_SENT, HandoffRecord

cdef int64_t HANDOFF_WAIT = 10000000  # ns; how often to look for connections that came to rest unnoticed


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


cdef bint handoff_connection(Engine *engine, Connection *connection) noexcept nogil:
    """Hand off a connection at rest to another process, if this process leaves. Returns True once it is freed here.

    Its exchange, if there is one, holds what was received and not framed, from the beginning of `data`.
    """
    cdef HandoffRecord handoff
    cdef int sent
    if load_uint(&engine.command) != COMMAND_HANDOFF or engine.now < engine.handoff_again:
        return False
    check(owner_is(&connection.request.owner, OWNER_ENGINE), "a connection is handed off that the engine does not own")
    check(connection.request.outbox == NULL, "a connection is handed off in the middle of a response")
    handoff_describe(
        &handoff, endpoint_at(engine.endpoints, connection.listener), connection.awaits_proxy, connection.requests,
        connection.address, connection.address_length)
    if connection.request.exchange != NULL:
        handoff.data = connection.request.exchange.data
        handoff.length = connection.request.exchange.filled
    sent = handoff_offer(
        engine.handoff_fd, &engine.command, &handoff, &connection.handle.transport,
        connection.request.app_state != NULL)
    if sent == HANDOFF_SENT:
        engine.counters.handed_off += 1
        connection_detach(engine, connection)
        return True
    if sent == HANDOFF_LATER:
        engine.handoff_again = engine.now + HANDOFF_RETRY_NS
    return False


cdef int64_t handoff_wait(Engine *engine) noexcept nogil:
    """Return how long a leaving engine may wait at most, in ns."""
    if engine.handoff_again > engine.now:
        return min(HANDOFF_WAIT, engine.handoff_again - engine.now)
    return 0 if engine.handoff_unfinished else HANDOFF_WAIT
