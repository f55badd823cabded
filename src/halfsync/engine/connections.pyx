"""The table of connections: slabs of records that are used again, each with a generation that grows at each close.

Only the engine's thread opens and closes connections. It frees a record only while it owns it, never while a worker
does.
"""
from libc.stdlib cimport calloc, free, realloc

from halfsync.engine.engine cimport CLIENT_REJECTED, SLAB, connection_of
from halfsync.engine.phases cimport (
    OWNER_ENGINE, PHASE_CLOSED_NOTIFY, PHASE_FREE, PHASE_HANDSHAKE, PHASE_IDLE, PHASE_SILENT, REQUEST_BODY,
    REQUEST_HEAD, REQUEST_NONE, owner_is,
)
from halfsync.engine.poller cimport HANDLE_CONNECTION
from halfsync.engine.timers cimport wheel_clear
from halfsync.engine.transitions cimport begin_phase, change_phase
from halfsync.exchange.exchange cimport pool_put
from halfsync.native.checks cimport COUNT_CONNECTION, check, count
from halfsync.native.sync cimport init_uchar, init_uint
from halfsync.shared.client_counts cimport CLIENT_NONE, counts_remove
from halfsync.shared.slots cimport slot_count
from halfsync.transport.transport cimport (
    PEER_HERE, transport_close, transport_cut, transport_open, transport_shakes_hands, transport_take_leave,
)

cdef Connection *connection_at(Engine *engine, uint32_t index) noexcept nogil:
    """Return the record at this index, free or not. The index must have been given out."""
    check(index < engine.slabs_count * SLAB, "a connection's index is out of the table")
    return &engine.slabs[index // SLAB][index % SLAB]


cdef int add_slab(Engine *engine) noexcept nogil:
    """Add SLAB records. Returns -1 if memory is short."""
    cdef Connection **slabs = <Connection **> realloc(
        engine.slabs, (engine.slabs_count + 1) * sizeof(Connection *)
    )
    cdef Connection *slab
    cdef uint32_t position
    if slabs == NULL:
        return -1
    engine.slabs = slabs
    slab = <Connection *> calloc(SLAB, sizeof(Connection))
    if slab == NULL:
        return -1
    engine.slabs[engine.slabs_count] = slab
    for position in range(SLAB, 0, -1):
        slab[position - 1].handle.index = engine.slabs_count * SLAB + position - 1
        slab[position - 1].request.next = engine.free
        engine.free = &slab[position - 1].request
    engine.slabs_count += 1
    return 0


cdef Connection *connection_open(
    Engine *engine, int fd, const TransportProfile *profile, bint adopted
) noexcept nogil:
    """Return a record for a socket just accepted or adopted. NULL: memory is short; the descriptor stays open.

    profile: as for transport_open.
    """
    cdef Connection *connection
    cdef bint begins
    if engine.free == NULL and add_slab(engine) < 0:
        return NULL
    connection = connection_of(engine.free)
    if transport_open(&connection.handle.transport, fd, profile) < 0:
        return NULL
    engine.free = connection.request.next
    check(
        connection.phase == PHASE_FREE and connection.request.phase == REQUEST_NONE,
        "a connection in use is in the free list")
    connection.request.next = NULL
    connection.handle.kind = HANDLE_CONNECTION
    init_uint(&connection.request.owner, OWNER_ENGINE)
    init_uchar(&connection.peer, PEER_HERE)
    begins = not adopted and transport_shakes_hands(&connection.handle.transport)
    change_phase(connection, PHASE_HANDSHAKE if begins else PHASE_SILENT)
    connection.client_index = CLIENT_NONE
    connection.requests = 0
    connection.request.probed = connection.finishing = connection.rejected = False
    connection.request.since = connection.accepted_ns = engine.now
    connection.request.exchange = NULL
    connection.request.outbox = NULL
    connection.request.app_state = NULL
    connection.request.lease = NULL
    engine.open += 1
    if engine.slot != NULL:
        slot_count(engine.slot, 1)
    count(COUNT_CONNECTION, 1)
    return connection


cdef void close_descriptor(Engine *engine, Connection *connection) noexcept nogil:
    """Close the descriptor, and remove the connection from the counts of the engine, the process and its client."""
    transport_close(&connection.handle.transport)
    if connection.request.exchange != NULL:
        pool_put(&engine.pool, connection.request.exchange)
        connection.request.exchange = NULL
    connection.handle.generation += 1
    begin_phase(connection, PHASE_CLOSED_NOTIFY)
    engine.open -= 1
    if engine.slot != NULL:
        slot_count(engine.slot, -1)
    if connection.client_index == CLIENT_REJECTED:
        engine.rejected_lingering -= 1
    elif connection.client_index != CLIENT_NONE:
        counts_remove(&engine.clients, connection.client_index)
    connection.client_index = CLIENT_NONE


cdef void connection_close_socket(Engine *engine, Connection *connection) noexcept nogil:
    """Close the socket. The record stays, in PHASE_CLOSED_NOTIFY.

    The engine must own it, and the outbox must be gone.
    """
    check(owner_is(&connection.request.owner, OWNER_ENGINE), "a connection is closed that the engine does not own")
    check(connection.phase != PHASE_FREE, "a connection is closed twice")
    check(connection.request.outbox == NULL, "a connection is closed in the middle of a response")
    engine.poller.remove(&engine.poller, &connection.handle)
    wheel_clear(&engine.wheel, &connection.timer)
    if connection.phase in (PHASE_SILENT, PHASE_IDLE):
        transport_take_leave(&connection.handle.transport)
    if (
        connection.phase in (PHASE_HANDSHAKE, PHASE_SILENT, PHASE_IDLE)
        or connection.request.phase in (REQUEST_HEAD, REQUEST_BODY)
    ):
        # A child that the application forked may hold the socket open too; without this the client would go on sending.
        transport_cut(&connection.handle.transport, True)
    close_descriptor(engine, connection)


cdef void connection_detach(Engine *engine, Connection *connection) noexcept nogil:
    """Close the descriptor of a socket that another process now has, and free the record. The engine must own it."""
    check(owner_is(&connection.request.owner, OWNER_ENGINE), "a connection is given away that the engine does not own")
    check(
        connection.phase in (PHASE_SILENT, PHASE_IDLE) or connection.request.phase == REQUEST_HEAD,
        "a connection is given away that is not at rest")
    engine.poller.detach(&engine.poller, &connection.handle)
    close_descriptor(engine, connection)
    connection_free(engine, connection)


cdef void connection_free(Engine *engine, Connection *connection) noexcept nogil:
    """Free the record of a closed connection. The engine must own it, and the bridge must have let go of its state."""
    check(owner_is(&connection.request.owner, OWNER_ENGINE), "a connection is freed that the engine does not own")
    check(
        connection.phase == PHASE_CLOSED_NOTIFY and connection.request.phase == REQUEST_NONE,
        "a connection is freed that is open, or free")
    check(connection.request.app_state == NULL, "a connection is freed while its bridge keeps something")
    wheel_clear(&engine.wheel, &connection.timer)
    change_phase(connection, PHASE_FREE)
    connection.request.next = engine.free
    engine.free = &connection.request
    count(COUNT_CONNECTION, -1)


cdef void connection_close(Engine *engine, Connection *connection) noexcept nogil:
    """Close the socket and free the record at once. The engine must own it, and the outbox must be gone."""
    connection_close_socket(engine, connection)
    connection_free(engine, connection)


cdef void connections_free(Engine *engine) noexcept nogil:
    """Free the table. No connection may be open."""
    cdef uint32_t slab
    check(engine.open == 0, "the table is freed while connections are open")
    for slab in range(engine.slabs_count):
        free(engine.slabs[slab])
    free(engine.slabs)
    engine.slabs = NULL
    engine.slabs_count = 0
