# The lanes of a request queue: which item the next free worker takes. decisions/0039 has the rule.
#
# All of it belongs to a queue, and is guarded by its lock; the clock is an argument. No function allocates, except
# lanes_open, and each does a bounded amount of work.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from halfsync.native.counting cimport set_count
from halfsync.pool.lane_records cimport Lane, Lanes, LaneTurn
from halfsync.pool.queue_slot cimport QueueSlot
from halfsync.shared.lane_metrics cimport LaneCounts, LaneGauge

cdef int lanes_open(Lanes *lanes) noexcept nogil
cdef void lanes_close(Lanes *lanes) noexcept nogil
cdef int64_t lanes_put(
    Lanes *lanes, uint32_t index, uint64_t client_key, void *item, int64_t now, int64_t age_ns) noexcept nogil
cdef bint lanes_have_work(Lanes *lanes) noexcept nogil
cdef bint lanes_take(Lanes *lanes, LaneTurn *turn, int64_t now, QueueSlot *slot) noexcept nogil
cdef void lanes_end_turn(Lanes *lanes, LaneTurn *turn, int64_t length_ns) noexcept nogil
cdef bint lanes_have(Lanes *lanes, uint32_t ticket, const void *item) noexcept nogil
cdef void lanes_withdraw(Lanes *lanes, uint32_t ticket) noexcept nogil
cdef Lane *lanes_overdue(Lanes *lanes, int64_t now) noexcept nogil
cdef bint lanes_expire(Lanes *lanes, int64_t now, QueueSlot *slot) noexcept nogil
cdef int64_t lanes_oldest_ns(Lanes *lanes) noexcept nogil
cdef void lanes_measure(Lanes *lanes, uint32_t index, LaneGauge *gauge, LaneCounts *counts) noexcept nogil


cdef inline void lanes_note_refusal(Lanes *lanes, uint32_t index, bint expired) noexcept nogil:
    """Count a request of a lane that is answered 503: it has waited too long, or there is no room. By the engine."""
    cdef LaneCounts *counts = lanes.lanes[index].counts
    cdef long long *count
    if counts != NULL:
        count = &counts.expired if expired else &counts.shed
        set_count(count, count[0] + 1)
