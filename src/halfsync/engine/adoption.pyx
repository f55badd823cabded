"""Adopt connections that a leaving process has handed off, from the queue that all serving processes share.

The engine watches the queue's reading end as it watches a listener: while there is room for a connection. Every record
wakes every process that has room, and each takes a few at a time, so that they share a burst (decisions/0018).
"""
from libc.errno cimport errno
from libc.stdint cimport uint16_t
from libc.string cimport memcpy, memset
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

from halfsync.engine.admission cimport admit
from halfsync.engine.connection_close cimport close_now, enter_phase
from halfsync.engine.connection_events cimport on_received
from halfsync.engine.connections cimport connection_close, connection_open
from halfsync.engine.engine cimport Connection
from halfsync.engine.phases cimport PHASE_IDLE, PHASE_SILENT
from halfsync.engine.poller cimport HANDLE_ADOPTION, Handle
from halfsync.exchange.exchange cimport EXCHANGE_PROXY, pool_get
from halfsync.shared.accepting cimport ACCEPT_PAUSE_NS
from halfsync.shared.handoff cimport handoff_adopt
from halfsync.shared.handoff_queue cimport (
    HANDOFF_NO_DESCRIPTOR, HANDOFF_NO_WRITER, HANDOFF_NONE, HANDOFF_TAKEN, HandoffRecord,
)


cdef int adoption_open(Engine *engine, int queue) noexcept nogil:
    """Adopt from this queue; the engine keeps a copy of its reading end. Before the start only. Returns 0 or -errno."""
    cdef Handle *handle = &engine.adoption
    memset(handle, 0, sizeof(Handle))
    handle.kind = HANDLE_ADOPTION
    handle.index = ADOPTION_INDEX
    handle.transport.fd = fcntl(queue, F_DUPFD_CLOEXEC, 3)
    return 0 if handle.transport.fd >= 0 else -errno


cdef void adoption_close(Engine *engine) noexcept nogil:
    """Stop adopting, and close the engine's copy of the queue."""
    adoption_watch(engine, False)
    if engine.adoption.transport.fd >= 0:
        close(engine.adoption.transport.fd)
        engine.adoption.transport.fd = -1


cdef void adoption_watch(Engine *engine, bint wanted) noexcept nogil:
    """Watch the queue if wanted; if not, its records stay there for other processes."""
    wanted = wanted and engine.adoption.transport.fd >= 0
    if wanted and not engine.adoption_watched:
        engine.adoption_watched = engine.poller.add(&engine.poller, &engine.adoption) == 0
    elif engine.adoption_watched and not wanted:
        engine.poller.remove(&engine.poller, &engine.adoption)
        engine.adoption_watched = False


cdef void begin(Engine *engine, const HandoffRecord *handoff, int listener) noexcept nogil:
    """Continue an adopted connection as if it had been accepted here, and its bytes received just now."""
    cdef Connection *connection = connection_open(engine, handoff.fd, NULL, True)
    if connection == NULL:
        close(handoff.fd)
        return
    connection.address_length = handoff.address_length
    memcpy(connection.address, handoff.address, connection.address_length)
    connection.listener = <uint16_t> listener
    connection.awaits_proxy = handoff.awaits_proxy
    connection.requests = handoff.requests
    if engine.poller.add(&engine.poller, &connection.handle) < 0:
        connection_close(engine, connection)
        return
    engine.counters.adopted += 1
    if engine.clients.limit > 0 and not connection.awaits_proxy:
        admit(engine, connection)  # one past its client's limit is kept all the same
    enter_phase(engine, connection, PHASE_IDLE if handoff.requests > 0 else PHASE_SILENT)
    if handoff.length == 0:
        return
    connection.request.exchange = pool_get(&engine.pool)
    if connection.request.exchange == NULL:
        close_now(engine, connection)
        return
    if connection.awaits_proxy:
        connection.request.exchange.phase = EXCHANGE_PROXY
    on_received(engine, &connection.handle, <char *> handoff.data, handoff.length)


cdef bint adopt_one(Engine *engine) noexcept nogil:
    """Take one record from the queue. Returns False if there is none, or none can be taken now."""
    cdef HandoffRecord handoff
    cdef int listener
    cdef int taken = handoff_adopt(
        engine.adoption.transport.fd, engine.endpoints, engine.proxies != NULL, &handoff, engine.scratch, &listener)
    if taken == HANDOFF_TAKEN:
        begin(engine, &handoff, listener)
    elif taken == HANDOFF_NO_WRITER:
        adoption_close(engine)
    elif taken == HANDOFF_NO_DESCRIPTOR:
        engine.accept_again = engine.now + ACCEPT_PAUSE_NS
    return taken not in (HANDOFF_NONE, HANDOFF_NO_WRITER, HANDOFF_NO_DESCRIPTOR)


cdef void adopt_all(Engine *engine) noexcept nogil:
    """Adopt every connection in the queue, since no other process may.

    This process is about to end, and answers what was received.
    """
    while engine.adoption.transport.fd >= 0 and adopt_one(engine):
        pass
