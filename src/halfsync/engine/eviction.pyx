"""Make room for a new connection when all are taken: close the connection that has idled longest.

The engine keeps no list in that order: a worker gives back an idle connection by one atomic instruction, and the engine
does not notice. So it scans the table when a new connection needs room. Each scan finds a batch of the connections that
have idled longest, in order. The batch stays exact until it is used up: each connection outside it began to idle later
than all in it, and a connection whose `since` has changed is skipped. So many evictions share the cost of a scan, and
an engine that is never full never scans (decisions/0022).

It never closes a connection in a turn, a connection that receives a body or is sent a response, a connection on which
bytes have just arrived, or a stream (raw TCP), where silence is normal. An engine of probes may close anything
(`anything`), the oldest first, except a new connection that has had no time to send its request, and a connection
whose request has arrived.
"""
from libc.stdint cimport INT64_MAX, int64_t, uint32_t

from halfsync.engine.connection_close cimport close_now, note_outcome
from halfsync.engine.connections cimport connection_at
from halfsync.engine.engine cimport CLIENT_REJECTED, EVICTION_BATCH, SLAB, Candidate, Eviction
from halfsync.engine.phases cimport (
    PHASE_CLOSED_NOTIFY, PHASE_FREE, PHASE_HANDSHAKE, PHASE_IDLE, PHASE_LINGER, PHASE_SILENT,
    REQUEST_HEAD,
)
from halfsync.engine.transitions cimport engine_owns
from halfsync.exchange.outcome cimport OUTCOME_SHED
from halfsync.exchange.rates cimport EVICTABLE_AFTER_NS
from halfsync.exchange.reasons cimport REASON_ROOM
from halfsync.transport.transport cimport PEEK_BYTES, transport_peek

# A rank is the time when the connection began to wait, shifted by its class: rejected connections go first, then the
# idle ones, then the rest.
cdef int64_t CLASS = <int64_t> 1 << 61
cdef int64_t NEVER = INT64_MAX
cdef int64_t PAUSE = 10000000  # ns; until the next attempt, after none could be closed
# ns that a new connection has to send something to an engine that may close anything. Its request is on its way, and a
# crowd of others must not cause it to be closed.
cdef int64_t NEWCOMER = 20000000
# ns between two scans, for each record of the table past its first slab. So scans take at most a tenth of the time.
cdef int64_t RECORD_PAUSE = 200


cdef int64_t rank_of(Engine *engine, Connection *connection) noexcept nogil:
    """Return the rank of a connection: the lowest is closed first. NEVER: it is not closed."""
    cdef int phase
    cdef int64_t since
    if not engine_owns(connection):
        return NEVER
    phase = connection.phase
    since = connection.request.since
    if phase == PHASE_FREE or phase == PHASE_CLOSED_NOTIFY or engine.limits.raw:
        return NEVER
    if engine.eviction.anything:
        return NEVER if phase == PHASE_SILENT and engine.now - since < NEWCOMER else since
    if phase == PHASE_IDLE:
        return since
    if connection.client_index == CLIENT_REJECTED:
        return since - CLASS
    if engine.now - since >= EVICTABLE_AFTER_NS and (
        phase in (PHASE_HANDSHAKE, PHASE_SILENT, PHASE_LINGER) or connection.request.phase == REQUEST_HEAD
    ):
        return since + CLASS
    return NEVER


cdef bint has_arrived(Engine *engine, Connection *connection) noexcept nogil:
    """Return whether bytes have just arrived on a connection that waits for a request, or for the rest of a head."""
    if connection.phase not in (PHASE_SILENT, PHASE_IDLE) and (
        connection.request.phase != REQUEST_HEAD or engine.eviction.anything
    ):
        return False
    return transport_peek(&connection.handle.transport) == PEEK_BYTES


cdef void sift_down(Candidate *heap, uint32_t length, uint32_t position) noexcept nogil:
    """Move the candidate at this position down to its place in a heap that has the greatest rank first."""
    cdef Candidate sinking = heap[position]
    cdef uint32_t child = 2 * position + 1
    while child < length:
        if child + 1 < length and heap[child + 1].rank > heap[child].rank:
            child += 1
        if heap[child].rank <= sinking.rank:
            break
        heap[position] = heap[child]
        position = child
        child = 2 * position + 1
    heap[position] = sinking


cdef void scan(Engine *engine) noexcept nogil:
    """Fill the batch with the connections to close first, the lowest rank first."""
    cdef Eviction *eviction = &engine.eviction
    cdef Candidate *heap = eviction.batch
    cdef Candidate last
    cdef Connection *connection
    cdef int64_t rank
    cdef uint32_t index
    cdef uint32_t length = 0
    for index in range(engine.slabs_count * SLAB):
        connection = connection_at(engine, index)
        rank = rank_of(engine, connection)
        if rank == NEVER or (length == EVICTION_BATCH and rank >= heap[0].rank):
            continue
        if length == EVICTION_BATCH:
            heap[0].rank, heap[0].connection, heap[0].generation = rank, connection, connection.handle.generation
            sift_down(heap, length, 0)
            continue
        heap[length].rank, heap[length].connection = rank, connection
        heap[length].generation = connection.handle.generation
        length += 1
        if length == EVICTION_BATCH:
            make_heap(heap, length)
    eviction.length = length
    eviction.next = 0
    eviction.scanned_ns = engine.now
    if length < EVICTION_BATCH:
        make_heap(heap, length)
    while length > 1:
        length -= 1
        last = heap[length]
        heap[length] = heap[0]
        heap[0] = last
        sift_down(heap, length, 0)


cdef void make_heap(Candidate *heap, uint32_t length) noexcept nogil:
    cdef uint32_t position = length // 2
    while position > 0:
        position -= 1
        sift_down(heap, length, position)


cdef Connection *next_in_batch(Engine *engine) noexcept nogil:
    """Return the first in the batch that may still be closed, without removing it. NULL: none is left."""
    cdef Eviction *eviction = &engine.eviction
    cdef Candidate *candidate
    while eviction.next < eviction.length:
        candidate = &eviction.batch[eviction.next]
        if candidate.rank >= CLASS and eviction.scanned_ns != engine.now:
            return NULL  # a connection that was busy may be idle now, and goes first
        if (
            candidate.connection.handle.generation == candidate.generation
            and rank_of(engine, candidate.connection) == candidate.rank
            and not has_arrived(engine, candidate.connection)
        ):
            return candidate.connection
        eviction.next += 1
    return NULL


cdef Connection *eviction_choose(Engine *engine) noexcept nogil:
    """Return the connection to close for a new one. NULL: none may be closed now, nor before `again_ns`.

    Each call returns the same connection until something else happens in the engine.
    """
    cdef Eviction *eviction = &engine.eviction
    cdef Connection *connection
    if engine.now < eviction.again_ns:
        return NULL
    connection = next_in_batch(engine)
    if connection == NULL and engine.now >= eviction.scan_ns:
        scan(engine)
        eviction.scan_ns = engine.now + (engine.slabs_count - 1) * SLAB * RECORD_PAUSE
        connection = next_in_batch(engine)
        if connection == NULL:
            eviction.again_ns = engine.now + PAUSE
    elif connection == NULL:
        eviction.again_ns = eviction.scan_ns
    return connection


cdef void eviction_close(Engine *engine, Connection *connection) noexcept nogil:
    """Close a connection to make room, in the same way as at its idle deadline. Frees it."""
    engine.counters.made_room += 1
    note_outcome(&connection.request, OUTCOME_SHED, REASON_ROOM)
    close_now(engine, connection)
