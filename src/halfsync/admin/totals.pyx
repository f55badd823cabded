# Native functions only, for other extensions: see the .pxd. Python code finds nothing to call here.
"""Sums over the slots of the scoreboard.

Slots without a process are in them, too: what an earlier process has counted there stays. So counts never go back,
whichever process answers.
"""
from libc.string cimport memset

from halfsync.native.counting cimport counted
from halfsync.native.sync cimport load_uint, monotonic_ns
from halfsync.shared.metrics cimport (
    CONNECTION_STATES, STATE_QUEUED, STATE_RECEIVING, STATE_RUNNING, slot_metrics_at,
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


cdef int64_t queue_age(const Totals *totals) noexcept nogil:
    """Return for how long the first item of any queue has waited, in ns; 0: none waits."""
    cdef int64_t now = monotonic_ns()
    cdef int64_t age = 0
    cdef SlotMetrics *metrics
    cdef unsigned int index
    for index in range(load_uint(&totals.view.scoreboard.used)):
        metrics = slot_metrics_at(totals.view.metrics, index)
        if counted(&metrics.gauges.queue.length) > 0:
            age = max(age, now - counted(&metrics.gauges.queue.oldest_ns))
    return age
