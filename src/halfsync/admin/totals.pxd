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
