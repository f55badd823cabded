"""The order in which the lines of a lane are served: two binary heaps over the same lines.

One has the line first whose oldest item is the oldest, the other that whose newest item is the newest. In both, lines
that are passed over come after all others. Each line knows its places, so that it is found without a search. The caller
holds the lock of the queue.
"""
from libc.stdint cimport uint32_t

from halfsync.pool.lane_records cimport BY_OLDEST, LINE_ORDERS


cdef inline bint goes_before(int order, const Line *one, const Line *other) noexcept nogil:
    if one.passed_over != other.passed_over:
        return other.passed_over
    if order == BY_OLDEST:
        return one.items.oldest.number < other.items.oldest.number
    return one.items.newest.number > other.items.newest.number


cdef inline void settle(Lane *lane, int order, uint32_t place, Line *line) noexcept nogil:
    lane.heaps[order][place] = line
    line.places[order] = place


cdef void line_moved(Lane *lane, int order, Line *line) noexcept nogil:
    """Move a line to its place, after what it is ordered by has changed."""
    cdef Line **heap = lane.heaps[order]
    cdef uint32_t place = line.places[order]
    cdef uint32_t other
    while place > 0:
        other = (place - 1) // 2
        if not goes_before(order, line, heap[other]):
            break
        settle(lane, order, place, heap[other])
        place = other
    while True:
        other = 2 * place + 1
        if other >= lane.lines:
            break
        if other + 1 < lane.lines and goes_before(order, heap[other + 1], heap[other]):
            other += 1
        if not goes_before(order, heap[other], line):
            break
        settle(lane, order, place, heap[other])
        place = other
    settle(lane, order, place, line)


cdef void line_enter(Lane *lane, Line *line) noexcept nogil:
    """Add a line, which has an item, to both heaps."""
    cdef int order
    lane.lines += 1
    for order in range(LINE_ORDERS):
        settle(lane, order, lane.lines - 1, line)
        line_moved(lane, order, line)


cdef void line_leave(Lane *lane, Line *line) noexcept nogil:
    """Remove a line from both heaps. It may have no item left."""
    cdef Line *last
    cdef int order
    lane.lines -= 1
    for order in range(LINE_ORDERS):
        last = lane.heaps[order][lane.lines]
        if last != line:
            settle(lane, order, line.places[order], last)
            line_moved(lane, order, last)
