# What waits in a queue, in its ring or in its lanes: the parts of request_queue.pyx that differ. The caller holds the
# queue's lock.
#
# A ring may have gaps: an item that is withdrawn leaves one until it is at an end.
from libc.stdint cimport int64_t, uint32_t

from halfsync.pool.lanes cimport (
    lanes_expire, lanes_have, lanes_have_work, lanes_oldest_ns, lanes_overdue, lanes_take, lanes_withdraw,
)
from halfsync.pool.overload cimport (
    overload_is_overdue, overload_look, overload_note_empty, overload_note_wait, overload_refuses,
)
from halfsync.pool.queue_records cimport Queue, Taker
from halfsync.pool.queue_slot cimport QUEUE_IS_FULL, QUEUE_IS_OVERLOADED, QueueSlot, slot_fill


cdef inline QueueSlot *first_slot(Queue *queue) noexcept nogil:
    return &queue.slots[queue.first]


cdef inline QueueSlot *last_slot(Queue *queue) noexcept nogil:
    return &queue.slots[(queue.first + queue.length - 1) & queue.mask]


cdef inline void remove_first(Queue *queue) noexcept nogil:
    queue.first = (queue.first + 1) & queue.mask
    queue.ticket += 1
    queue.length -= 1


cdef inline void skip_withdrawn(Queue *queue) noexcept nogil:
    """Remove withdrawn items from both ends of the queue."""
    while queue.length > 0 and first_slot(queue).item == NULL:
        remove_first(queue)
        queue.withdrawn += 1
    while queue.length > 0 and last_slot(queue).item == NULL:
        queue.length -= 1
        queue.withdrawn += 1


cdef inline void take_slot(Queue *queue, QueueSlot *slot) noexcept nogil:
    """Take the first item, or the last one in an overloaded queue. It is not empty."""
    if queue.overload.overloaded:
        slot[0] = last_slot(queue)[0]
        queue.length -= 1
    else:
        slot[0] = first_slot(queue)[0]
        remove_first(queue)


cdef inline QueueSlot *slot_of(Queue *queue, uint32_t ticket, const void *item) noexcept nogil:
    """Return the slot of an item with this ticket. NULL: it was taken, or withdrawn.

    A ticket alone does not tell: once the last item of an overloaded queue was taken, the next one has its ticket.
    """
    cdef QueueSlot *slot
    if ticket - queue.ticket >= queue.length:  # also a ticket of before, since the difference is unsigned
        return NULL
    slot = &queue.slots[(queue.first + (ticket - queue.ticket)) & queue.mask]
    return slot if slot.item == item else NULL


cdef inline int64_t put_in_ring(Queue *queue, void *item, int64_t now, int64_t age_ns) noexcept nogil:
    """Put an item at the end of the ring. Returns its ticket, or a QueueRefusal. The caller counts it."""
    if age_ns > 0 and overload_refuses(&queue.overload, now, age_ns):
        return QUEUE_IS_OVERLOADED
    if queue.length >= queue.limit or queue.closed:
        return QUEUE_IS_FULL
    slot_fill(&queue.slots[(queue.first + queue.length) & queue.mask], item, now, age_ns)
    return <uint32_t> (queue.ticket + queue.length)


cdef inline int64_t oldest_ns(Queue *queue) noexcept nogil:
    """Return since when the oldest item has waited. There is one."""
    return first_slot(queue).put_ns if queue.lanes == NULL else lanes_oldest_ns(queue.lanes)


cdef inline bint has_work(Queue *queue) noexcept nogil:
    """Return whether something waits that an idle worker may take."""
    return queue.length > 0 and (queue.lanes == NULL or lanes_have_work(queue.lanes))


cdef inline bint is_one(Queue *queue) noexcept nogil:
    """Return whether an awake worker takes what waits next, if it may: it does not wait in several lanes."""
    return queue.lanes == NULL or queue.lanes.waiting == 1


cdef inline bint is_overdue(Queue *queue, int64_t now) noexcept nogil:
    """Return whether the first item has waited for too long. There is one."""
    if queue.lanes != NULL:
        return lanes_overdue(queue.lanes, now) != NULL
    return overload_is_overdue(
        &queue.overload, now, queue.length, first_slot(queue).put_ns, first_slot(queue).age_ns)


cdef inline bint take_next(Queue *queue, Taker *taker, QueueSlot *slot, int64_t now) noexcept nogil:
    """Take the item that is due. Returns False if there is none."""
    if queue.lanes != NULL:
        if not lanes_take(queue.lanes, &taker.turn, now, slot):
            return False
        queue.length -= 1
        return True
    skip_withdrawn(queue)
    if queue.length == 0:
        overload_note_empty(&queue.overload)
        return False
    overload_look(&queue.overload, now, queue.length, now - first_slot(queue).put_ns)
    take_slot(queue, slot)
    overload_note_wait(&queue.overload, now, max(<int64_t> 0, now - slot.put_ns))
    return True


cdef inline bint take_overdue(Queue *queue, int64_t now, QueueSlot *slot) noexcept nogil:
    """Take an item out that has waited for too long, if there is one."""
    if queue.lanes != NULL:
        if not lanes_expire(queue.lanes, now, slot):
            return False
        queue.length -= 1
        return True
    skip_withdrawn(queue)
    if queue.length == 0 or not is_overdue(queue, now):
        return False
    slot[0] = first_slot(queue)[0]
    remove_first(queue)
    return True


cdef inline bint still_waits(Queue *queue, uint32_t ticket, const void *item) noexcept nogil:
    """Return whether the item with this ticket waits."""
    if queue.lanes != NULL:
        return lanes_have(queue.lanes, ticket, item)
    return slot_of(queue, ticket, item) != NULL


cdef inline bint take_out(Queue *queue, uint32_t ticket, const void *item) noexcept nogil:
    """Take the item with this ticket out, at any position. Returns False if it does not wait."""
    if not still_waits(queue, ticket, item):
        return False
    if queue.lanes != NULL:
        lanes_withdraw(queue.lanes, ticket)
        queue.length -= 1
        queue.withdrawn += 1
    else:
        slot_of(queue, ticket, item).item = NULL
        skip_withdrawn(queue)
    return True
