# What a queue gives for an item that was put into it.
from libc.stdint cimport int64_t

ctypedef struct QueueSlot:
    void *item                # NULL: it was withdrawn
    int64_t put_ns            # the monotonic clock when it was put
    int64_t age_ns            # how long it had waited elsewhere
    int64_t taken_ns          # the monotonic clock when it was taken

# Why a queue did not take an item.
cdef enum QueueRefusal:
    QUEUE_IS_FULL = -1        # or closed
    QUEUE_IS_OVERLOADED = -2  # and the item has waited for too long elsewhere


cdef inline void slot_fill(QueueSlot *slot, void *item, int64_t put_ns, int64_t age_ns) noexcept nogil:
    """Describe an item that is put."""
    slot.item = item
    slot.put_ns = put_ns
    slot.age_ns = age_ns
