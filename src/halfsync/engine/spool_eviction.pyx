"""Make room in the spool: a client that reads nothing must not keep the disk, and so the workers, from all others.

When the budget of the spool is used up, a worker waits for its own client. If that client, and all other clients that
hold the disk, read nothing, the workers would wait until a write deadline. So while workers wait, and requests wait for
workers, the engine cuts the client that has taken nothing for longest, one at a time, until there is room. A slow
client that takes something is not cut. A client that pauses is not cut while its room is not needed.

The engine does the same if workers are short, rather than room: requests wait, no worker has taken one for a second,
and a worker waits for a client that its response is far ahead of (response_ahead). It cuts that client if the client
takes nothing.
"""
from libc.stdint cimport int64_t, uint32_t

from halfsync.engine.connection_close cimport client_disconnected, note_outcome
from halfsync.engine.connections cimport connection_at
from halfsync.engine.deadlines cimport note_progress
from halfsync.engine.engine cimport Request, SLAB, connection_of
from halfsync.engine.phases cimport OWNER_ENGINE, REQUEST_SENDING, owner_is
from halfsync.exchange.outbox cimport OUTBOX_WAITS_FOR_CLIENT, outbox_retry, outbox_waits
from halfsync.exchange.outcome cimport OUTCOME_SHED
from halfsync.exchange.reasons cimport REASON_STALLED
from halfsync.native.sync cimport load_uint
from halfsync.transport.transport cimport transport_abort

cdef int64_t STALLED = 1000000000  # ns; a client that has taken nothing for this long may be cut
cdef int64_t PAUSE = 20000000  # ns; between two looks


cdef void evict_stalled_client(Engine *engine) noexcept nogil:
    """Cut one client that takes nothing and holds disk space, or a worker, that is needed. Let waiting workers retry.

    It looks at every connection, so it does so only while there is a need, and at most once every PAUSE. Called each
    cycle; the cycles are short while requests are queued.
    """
    cdef Request *request
    cdef Request *longest = NULL
    cdef uint32_t index
    cdef int64_t spooled
    cdef bint disk_is_short, workers_are
    disk_is_short = load_uint(&engine.store.waiters) > 0
    workers_are = (
        load_uint(&engine.store.held) > 0 and engine.watch.waits and engine.now - engine.watch.since >= STALLED
    )
    if not (disk_is_short or workers_are) or engine.now < engine.evict_stalled_again:
        return
    engine.evict_stalled_again = engine.now + PAUSE
    for index in range(engine.slabs_count * SLAB):
        request = &connection_at(engine, index).request
        if not owner_is(&request.owner, OWNER_ENGINE) or request.phase != REQUEST_SENDING:
            continue
        spooled = outbox_retry(request.outbox)
        if not engine.watch.waits or engine.now - request.since < STALLED:
            continue
        if not (disk_is_short and spooled > 0) and not (
            workers_are and outbox_waits(request.outbox) == OUTBOX_WAITS_FOR_CLIENT
        ):
            continue
        note_progress(engine, connection_of(request))
        if engine.now - request.since >= STALLED and (longest == NULL or request.since < longest.since):
            longest = request
    if longest != NULL:
        engine.counters.evicted += 1
        transport_abort(&connection_of(longest).handle.transport)
        note_outcome(longest, OUTCOME_SHED, REASON_STALLED)
        client_disconnected(engine, connection_of(longest))
