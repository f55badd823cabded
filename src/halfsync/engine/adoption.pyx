"""Adopting: connections that a leaving process has handed over, taken from the queue that all serving processes share.

The queue's reading end is watched as a listener is: while there is room for a connection. Every process that has room
is woken by every record, and each takes a few at a time, so that they share what comes in a burst (decisions/0018).
"""
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint16_t
from libc.string cimport memcpy, memset
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

from halfsync.engine.admission cimport let_in
from halfsync.engine.connection_close cimport end_now, enter
from halfsync.engine.connection_events cimport on_received
from halfsync.engine.connections cimport connection_close, connection_open
from halfsync.engine.engine cimport Connection, PHASE_IDLE, PHASE_SILENT
from halfsync.engine.poller cimport HANDLE_ADOPTION, Handle
from halfsync.exchange.exchange cimport EXCHANGE_PROXY, pool_get
from halfsync.http.trust cimport ADDRESS_BYTES
from halfsync.listening.endpoints cimport ENDPOINT_UNKNOWN, endpoint_find
from halfsync.shared.handoff_queue cimport (
    HANDOVER_NONE, HANDOVER_OVER, HANDOVER_SHORT, HANDOVER_TAKEN, Handover, handover_take,
)
from halfsync.shared.slots cimport seat_listens

cdef enum:
    ADOPTIONS_PER_VISIT = 8  # before the other processes, and the other connections, have their turn

cdef int64_t ADOPTION_PAUSE = 100000000  # ns; after no descriptor was free


cdef int adoption_open(Engine *engine, int queue) noexcept nogil:
    """Adopt from this queue; the engine keeps a copy of its reading end. Before the start only. Returns 0 or -errno."""
    cdef Handle *handle = &engine.adoption
    memset(handle, 0, sizeof(Handle))
    handle.kind = HANDLE_ADOPTION
    handle.index = ADOPTION_INDEX
    handle.fd = fcntl(queue, F_DUPFD_CLOEXEC, 3)
    return 0 if handle.fd >= 0 else -errno


cdef void adoption_close(Engine *engine) noexcept nogil:
    """Adopt no more."""
    adoption_watch(engine, False)
    if engine.adoption.fd >= 0:
        close(engine.adoption.fd)
        engine.adoption.fd = -1


cdef void adoption_watch(Engine *engine, bint wanted) noexcept nogil:
    """Watch the queue, or do not: what waits there stays there for others."""
    wanted = wanted and engine.adoption.fd >= 0
    if wanted and not engine.adoption_watched:
        engine.adoption_watched = engine.poller.add(&engine.poller, &engine.adoption) == 0
    elif engine.adoption_watched and not wanted:
        engine.poller.remove(&engine.poller, &engine.adoption)
        engine.adoption_watched = False


cdef void begin(Engine *engine, const Handover *handover) noexcept nogil:
    """Go on with an adopted connection as if it had been accepted here, and its bytes been received just now."""
    cdef Connection *connection = NULL
    cdef int listener = endpoint_find(engine.endpoints, &handover.endpoint)
    # Whether a connection begins with a PROXY header was decided where it was accepted; here nobody may read it.
    if listener != ENDPOINT_UNKNOWN and (not handover.awaits_proxy or engine.proxies != NULL):
        connection = connection_open(engine, handover.fd)
    if connection == NULL:
        close(handover.fd)
        return
    connection.address_length = min(handover.address_length, <unsigned char> ADDRESS_BYTES)
    memcpy(connection.address, handover.address, connection.address_length)
    connection.listener = <uint16_t> listener
    connection.awaits_proxy = handover.awaits_proxy
    connection.requests = handover.requests
    if engine.poller.add(&engine.poller, &connection.handle) < 0:
        connection_close(engine, connection)
        return
    engine.counters.adopted += 1
    if engine.clients.limit > 0 and not connection.awaits_proxy:
        let_in(engine, connection)  # one that has more than its share already is not cut for it
    enter(engine, connection, PHASE_IDLE if handover.requests > 0 else PHASE_SILENT)
    if handover.length == 0:
        return
    connection.exchange = pool_get(&engine.pool)
    if connection.exchange == NULL:
        end_now(engine, connection)
        return
    if connection.awaits_proxy:
        connection.exchange.phase = EXCHANGE_PROXY
    on_received(engine, &connection.handle, <char *> handover.data, handover.length)


cdef bint adopt_one(Engine *engine) noexcept nogil:
    """Take one record from the queue. Returns False when there is none, or none can be taken now."""
    cdef Handover handover
    cdef int taken = handover_take(engine.adoption.fd, &handover, engine.scratch)
    if taken == HANDOVER_TAKEN:
        begin(engine, &handover)
    elif taken == HANDOVER_OVER:
        adoption_close(engine)
    elif taken == HANDOVER_SHORT:
        engine.accept_again = engine.now + ADOPTION_PAUSE
    return taken not in (HANDOVER_NONE, HANDOVER_OVER, HANDOVER_SHORT)


cdef void adopt(Engine *engine) noexcept nogil:
    """Adopt some of the connections that wait in the queue, as far as there is room."""
    cdef int _visits
    for _visits in range(ADOPTIONS_PER_VISIT):
        if (
            engine.open >= engine.open_max
            or (engine.seat != NULL and not seat_listens(engine.board, engine.seat))
            or not adopt_one(engine)
        ):
            return


cdef void adopt_all(Engine *engine) noexcept nogil:
    """Adopt all that wait, since nobody else may: this process is about to end and answers what was received."""
    while engine.adoption.fd >= 0 and adopt_one(engine):
        pass
