# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""What is known of connections and requests, as members of the status."""
from libc.stdint cimport uint32_t
from libc.string cimport strlen

from halfsync.admin.json_text cimport add_key, add_literal, add_number, add_seconds, add_string
from halfsync.admin.totals cimport (
    Totals, connections_in, lane_age, lane_exists, lane_name, queue_age, totals_take,
)
from halfsync.native.sync cimport load_llong, load_uint
from halfsync.shared.lane_metrics cimport LANE_ROWS, LaneCounts, LaneGauge
from halfsync.shared.metrics cimport CONNECTION_STATES, state_name
from halfsync.shared.slots cimport SLOT_EMPTY, SlotRecord, slot_at


cdef void add_connections(Text *text, const Totals *totals) noexcept nogil:
    """Append how many connections are in each state."""
    cdef int state
    add_key(text, b"connections")
    add_literal(text, b"{")
    for state in range(CONNECTION_STATES):
        add_key(text, state_name(state), state == 0)
        add_number(text, connections_in(totals, state))
    add_literal(text, b"}")


cdef void add_queue(Text *text, const Totals *totals) noexcept nogil:
    """Append how many items wait for a worker, and the first one for how long; null if no model has a queue."""
    add_key(text, b"queue")
    if totals.sum.gauges.threads <= 0:
        add_literal(text, b"null")
        return
    add_literal(text, b"{")
    add_key(text, b"length", first=True)
    add_number(text, max(totals.sum.gauges.queue.length, <long long> 0))
    add_key(text, b"oldest")
    add_seconds(text, queue_age(totals))
    add_literal(text, b"}")


cdef void add_lane(Text *text, const Totals *totals, int row) noexcept nogil:
    """Append a lane, over all processes."""
    cdef const LaneGauge *gauge = &totals.sum.gauges.lanes[row]
    cdef const LaneCounts *counts = &totals.sum.lanes[row]
    cdef const char *name = lane_name(totals, row)
    add_key(text, b"name", first=True)
    add_string(text, name, strlen(name), False)
    add_key(text, b"waiting")
    add_number(text, gauge.length)
    add_key(text, b"oldest")
    add_seconds(text, lane_age(totals, row))
    add_key(text, b"running")
    add_number(text, gauge.busy)
    add_key(text, b"taken")
    add_number(text, counts.taken)
    add_key(text, b"shed")
    add_number(text, counts.shed)
    add_key(text, b"expired")
    add_number(text, counts.expired)


cdef void add_lanes(Text *text, const Totals *totals) noexcept nogil:
    """Append the lanes that a process has now."""
    cdef int row
    cdef bint first = True
    add_key(text, b"lanes")
    add_literal(text, b"[")
    for row in range(LANE_ROWS):
        if lane_exists(totals, row):
            add_literal(text, b"{" if first else b",{")
            first = False
            add_lane(text, totals, row)
            add_literal(text, b"}")
    add_literal(text, b"]")


cdef long long requests_served(const AdminView *view) noexcept nogil:
    """Return how many requests the processes that live have served."""
    cdef long long requests = 0
    cdef uint32_t index
    cdef SlotRecord *slot
    for index in range(load_uint(&view.scoreboard.used)):
        slot = slot_at(view.scoreboard, index)
        if load_uint(&slot.state) != SLOT_EMPTY:
            requests += load_llong(&slot.requests)
    return requests


cdef void add_figures(Text *text, const AdminView *view) noexcept nogil:
    """Append connections, queue, lanes and requests, over all processes."""
    cdef Totals totals
    totals_take(&totals, view)
    add_connections(text, &totals)
    add_queue(text, &totals)
    add_lanes(text, &totals)
    add_key(text, b"requests")
    add_number(text, requests_served(view))
