# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""What the engine measures of itself: how long its cycles last, and how many connections are in each state.

Connections are counted by a walk over their records, and not with each change of a phase: an idle connection is not
looked at when its worker has released its request (ARCHITECTURE.md). A walk visits a part of the records in each cycle,
and there are at most four in a second.
"""
from libc.stdint cimport uint32_t
from libc.string cimport memset

from halfsync.engine.connections cimport connection_at
from halfsync.engine.engine cimport SLAB, Connection
from halfsync.engine.phases cimport (
    OWNER_ENGINE, OWNER_MASK, OWNER_QUEUE, OWNER_WORKER, PHASE_ACTIVE, PHASE_CLOSED_NOTIFY, PHASE_FREE,
    PHASE_HANDSHAKE, PHASE_LINGER, PHASE_SILENT, REQUEST_BODY, REQUEST_HEAD, REQUEST_SENDING,
)
from halfsync.native.counting cimport histogram_add, set_count, time_bounds
from halfsync.native.sync cimport load_uint, monotonic_ns
from halfsync.shared.metrics cimport (
    CONNECTION_STATES, STATE_HANDSHAKE, STATE_IDLE, STATE_LINGERING, STATE_NEW, STATE_QUEUED, STATE_RECEIVING,
    STATE_RUNNING, STATE_SENDING, SlotMetrics,
)

cdef enum:
    CENSUS_MOST = 8 * SLAB  # records visited in a cycle
    CENSUS_NS = 250000000  # between two walks at least


cdef int state_of(Connection *connection) noexcept nogil:
    """Return the ConnectionState of a connection; -1: the record is of none."""
    cdef unsigned int owner
    if connection.phase == PHASE_FREE or connection.phase == PHASE_CLOSED_NOTIFY:
        return -1
    owner = load_uint(&connection.request.owner) & OWNER_MASK
    if owner == OWNER_QUEUE:
        return STATE_QUEUED
    if owner == OWNER_WORKER:
        return STATE_RUNNING
    if connection.phase == PHASE_HANDSHAKE:
        return STATE_HANDSHAKE
    if connection.phase == PHASE_SILENT:
        return STATE_NEW
    if connection.phase == PHASE_LINGER:
        return STATE_LINGERING
    if owner == OWNER_ENGINE and connection.phase == PHASE_ACTIVE:
        if connection.request.phase == REQUEST_HEAD or connection.request.phase == REQUEST_BODY:
            return STATE_RECEIVING
        if connection.request.phase == REQUEST_SENDING:
            return STATE_SENDING
    return STATE_IDLE  # or its worker has released its request, and is done with it


cdef void take_census(Engine *engine, SlotMetrics *metrics) noexcept nogil:
    """Visit the next records, and publish the numbers once all were visited."""
    cdef uint32_t end = engine.slabs_count * SLAB
    cdef uint32_t last = min(end, engine.census_next + CENSUS_MOST)
    cdef int state
    while engine.census_next < last:
        state = state_of(connection_at(engine, engine.census_next))
        if state >= 0:
            engine.census[state] += 1
        engine.census_next += 1
    if engine.census_next < end:
        return
    for state in range(CONNECTION_STATES):
        set_count(&metrics.gauges.connections[state], engine.census[state])
    memset(engine.census, 0, sizeof(engine.census))
    engine.census_next = 0
    engine.census_again = engine.now + CENSUS_NS


cdef void measure_cycle(Engine *engine) noexcept nogil:
    """Measure a cycle at its end. For an engine with metrics."""
    histogram_add(&engine.metrics.engine_lag, time_bounds(), monotonic_ns() - engine.now)
    if engine.now >= engine.census_again:
        take_census(engine, engine.metrics)
