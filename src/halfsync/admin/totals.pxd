# What is counted of a server, summed over its processes: for metrics and for the status. See totals.pyx.
from libc.stdint cimport int64_t

from halfsync.admin.answer cimport AdminView
from halfsync.shared.metrics cimport SlotMetrics

# A sum over all slots, in which each field is a whole number.
ctypedef struct Totals:
    SlotMetrics sum
    const AdminView *view

cdef void totals_take(Totals *totals, const AdminView *view) noexcept nogil
cdef long long connections_in(const Totals *totals, int state) noexcept nogil
cdef int64_t queue_age(const Totals *totals) noexcept nogil

# Lanes, by their rows: whether a process has such a lane now, or one has counted something in it, or may do so; its
# name; and for how long its first request has waited, in ns.
cdef bint lane_exists(const Totals *totals, int row) noexcept nogil
cdef bint lane_is_known(const Totals *totals, int row) noexcept nogil
cdef const char *lane_name(const Totals *totals, int row) noexcept nogil
cdef int64_t lane_age(const Totals *totals, int row) noexcept nogil
