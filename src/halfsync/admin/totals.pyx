# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Sums over the slots of the scoreboard.

Slots without a process are in them, too: what an earlier process has counted there stays. So counts never go back,
whichever process answers.
"""
from libc.string cimport memset

from halfsync.native.counting cimport counted
from halfsync.native.sync cimport load_uint, monotonic_ns
from halfsync.shared.lane_metrics cimport LANE_OTHERS, LaneCounts, LaneGauge, lane_names_count, lane_row_name
from halfsync.shared.metrics cimport (
    CONNECTION_STATES, STATE_QUEUED, STATE_RECEIVING, STATE_RUNNING, QueueGauge, slot_metrics_at,
)


cdef void totals_take(Totals *totals, const AdminView *view) noexcept nogil:
    """Sum all slots. Any of them may change while they are read."""
    cdef long long *sums = <long long *> &totals.sum
    cdef const long long *counts
    cdef unsigned int index
    cdef size_t position
    totals.view = view
    memset(&totals.sum, 0, sizeof(SlotMetrics))
    for index in range(load_uint(&view.scoreboard.used)):
        counts = <const long long *> slot_metrics_at(view.metrics, index)
        for position in range(sizeof(SlotMetrics) // sizeof(long long)):
            sums[position] += counted(&counts[position])


cdef long long connections_in(const Totals *totals, int state) noexcept nogil:
    """Return the number of connections in a state.

    The models with blocking threads count those that are open, that idle and that run. Of the others, some wait for a
    thread. What is left receives, or lingers.
    """
    cdef const SlotMetrics *sum = &totals.sum
    cdef long long blocking = sum.counters.open
    cdef long long number = sum.gauges.connections[state]
    cdef int other
    if blocking > 0:
        if state == STATE_RUNNING:
            number += sum.counters.running
        elif state == STATE_QUEUED:
            number += sum.gauges.queue.length
        elif state == STATE_RECEIVING:
            number = blocking - sum.counters.running - sum.gauges.queue.length
            for other in range(CONNECTION_STATES):
                number -= sum.gauges.connections[other]
    return max(number, <long long> 0)  # the counts were read one after another


cdef bint lane_exists(const Totals *totals, int row) noexcept nogil:
    """Return whether a process has such a lane now."""
    return totals.sum.gauges.lanes[row].exists > 0


cdef bint lane_is_known(const Totals *totals, int row) noexcept nogil:
    """Return whether a row belongs to a lane. That of all the others does if they have counted something."""
    cdef const LaneCounts *counts = &totals.sum.lanes[row]
    if row == LANE_OTHERS:
        return counts.taken + counts.shed + counts.expired > 0
    return <unsigned int> row < lane_names_count(&totals.view.metrics.lanes)


cdef const char *lane_name(const Totals *totals, int row) noexcept nogil:
    """Return the name of a lane that is known."""
    return lane_row_name(&totals.view.metrics.lanes, row)


cdef int64_t lane_age(const Totals *totals, int row) noexcept nogil:
    """Return for how long the first item of a lane has waited, in any process, in ns; 0: none waits."""
    cdef int64_t now = monotonic_ns()
    cdef int64_t age = 0
    cdef LaneGauge *gauge
    cdef unsigned int index
    for index in range(load_uint(&totals.view.scoreboard.used)):
        gauge = &slot_metrics_at(totals.view.metrics, index).gauges.lanes[row]
        age = max(age, age_of(counted(&gauge.length), counted(&gauge.oldest_ns), now))
    return age


cdef int64_t queue_age(const Totals *totals) noexcept nogil:
    """Return for how long the first item of any queue has waited, in ns; 0: none waits."""
    cdef int64_t now = monotonic_ns()
    cdef int64_t age = 0
    cdef QueueGauge *gauge
    cdef unsigned int index
    for index in range(load_uint(&totals.view.scoreboard.used)):
        gauge = &slot_metrics_at(totals.view.metrics, index).gauges.queue
        age = max(age, age_of(counted(&gauge.length), counted(&gauge.oldest_ns), now))
    return age


cdef inline int64_t age_of(long long length, long long oldest_ns, int64_t now) noexcept nogil:
    """Return for how long the first item of one queue has waited, in ns."""
    return now - oldest_ns if length > 0 else 0
