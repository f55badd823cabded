"""The lanes of a request queue: what waits in each, and which item the next free worker takes.

Each lane has items in the order in which they were put, and the same items in *lines*, one for each client. Without a
limit on the share of a client there is one line in a lane. decisions/0039 says what may be taken, in which order, and
why no wake-up is lost. The caller holds the lock of the queue that the lanes belong to.
"""
from libc.stdint cimport UINT32_MAX
from libc.stdlib cimport calloc, free

from halfsync.native.checks cimport COUNT_BUFFER, check, count
from halfsync.native.counting cimport set_count
from halfsync.pool.lane_order cimport line_enter, line_leave, line_moved
from halfsync.pool.lane_records cimport (
    BY_NEWEST, BY_OLDEST, LINE_ORDERS, OF_LANE, OF_LINE, ItemList, LaneClient, LaneItem, Line,
)
from halfsync.pool.overload cimport (
    overload_is_overdue, overload_look, overload_note_empty, overload_note_turn, overload_note_wait, overload_refuses,
)
from halfsync.pool.queue_slot cimport QUEUE_IS_FULL, QUEUE_IS_OVERLOADED, slot_fill
from halfsync.shared.client_counts cimport CLIENT_NONE, counts_add, counts_close, counts_open, counts_remove


cdef int lanes_open(Lanes *lanes) noexcept nogil:
    """Make empty lanes, of which the owner has set limits and overload controls. Returns 0, or -1: memory is short."""
    cdef uint32_t places = 0
    cdef uint32_t first = 0
    cdef uint32_t index
    cdef int order
    lanes.reserved = 0
    for index in range(lanes.count):
        places += lanes.lanes[index].limit
        lanes.reserved += lanes.lanes[index].guaranteed
    lanes.items = <LaneItem *> calloc(places, sizeof(LaneItem))
    lanes.lines = <Line *> calloc(places, sizeof(Line))
    lanes.heaps = <Line **> calloc(<size_t> places * LINE_ORDERS, sizeof(Line *))
    lanes.clients = <LaneClient *> calloc(<size_t> places + lanes.threads + 1, sizeof(LaneClient))
    count(COUNT_BUFFER, 1)
    if (
        lanes.items == NULL or lanes.lines == NULL or lanes.heaps == NULL or lanes.clients == NULL
        or counts_open(&lanes.counts, UINT32_MAX if lanes.share > 0 else 0, places + <uint32_t> lanes.threads) < 0
    ):
        lanes_close(lanes)
        return -1
    for index in range(places):
        lanes.items[index].links[OF_LINE].newer = &lanes.items[index + 1] if index + 1 < places else NULL
        lanes.lines[index].next = &lanes.lines[index + 1] if index + 1 < places else NULL
    lanes.free_item = lanes.items
    lanes.free_line = lanes.lines
    for index in range(lanes.count):
        for order in range(LINE_ORDERS):
            lanes.lanes[index].heaps[order] = lanes.heaps + first
            first += lanes.lanes[index].limit
    return 0


cdef void lanes_close(Lanes *lanes) noexcept nogil:
    """Free what empty lanes have."""
    free(lanes.items)
    free(lanes.lines)
    free(lanes.heaps)
    free(lanes.clients)
    counts_close(&lanes.counts)
    count(COUNT_BUFFER, -1)


cdef void lanes_measure(Lanes *lanes, uint32_t index, LaneGauge *gauge, LaneCounts *counts) noexcept nogil:
    """Show a lane in metrics from now on, before it is used. gauge: NULL: it has none there."""
    lanes.lanes[index].gauge = gauge
    lanes.lanes[index].counts = counts
    if gauge != NULL:
        set_count(&gauge.exists, 1)


cdef inline void show(const Lane *lane) noexcept nogil:
    """Show what waits in a lane and what runs, once that has changed."""
    if lane.gauge != NULL:
        if lane.length > 0:
            set_count(&lane.gauge.oldest_ns, lane.items.oldest.slot.put_ns)
        set_count(&lane.gauge.length, lane.length)
        set_count(&lane.gauge.busy, lane.busy)


cdef inline Line *line_of(Lanes *lanes, Lane *lane, uint32_t client) noexcept nogil:
    """Return the line of a client in a lane. A new one has no item, and is in no heap yet."""
    cdef Line *line = lanes.clients[client].lines
    while line != NULL and line.lane != lane:
        line = line.next
    if line != NULL:
        return line
    line = lanes.free_line
    lanes.free_line = line.next
    line.lane = lane
    line.client = client
    line.items.oldest = line.items.newest = NULL
    line.passed_over = client != CLIENT_NONE and lanes.clients[client].busy >= lanes.share
    line.next = lanes.clients[client].lines
    lanes.clients[client].lines = line
    return line


cdef inline void drop_line(Lanes *lanes, Line *line) noexcept nogil:
    """Free a line without items."""
    cdef Line **link = &lanes.clients[line.client].lines
    line_leave(line.lane, line)
    while link[0] != line:
        link = &link[0].next
    link[0] = line.next
    line.next = lanes.free_line
    lanes.free_line = line


cdef inline void list_append(ItemList *items, int of, LaneItem *entry) noexcept nogil:
    """Put an item at the end of a list. of: OF_LINE or OF_LANE."""
    entry.links[of].older = items.newest
    entry.links[of].newer = NULL
    if items.newest != NULL:
        items.newest.links[of].newer = entry
    else:
        items.oldest = entry
    items.newest = entry


cdef inline void list_remove(ItemList *items, int of, LaneItem *entry) noexcept nogil:
    """Take an item out of a list, at any place. of: OF_LINE or OF_LANE."""
    cdef LaneItem *older = entry.links[of].older
    cdef LaneItem *newer = entry.links[of].newer
    if older != NULL:
        older.links[of].newer = newer
    else:
        items.oldest = newer
    if newer != NULL:
        newer.links[of].older = older
    else:
        items.newest = older


cdef inline void append(Lanes *lanes, Lane *lane, Line *line, LaneItem *entry) noexcept nogil:
    """Put an item at the end of a line and of its lane."""
    entry.line = line
    if lane.length == 0:
        lanes.waiting += 1
    lane.length += 1
    list_append(&lane.items, OF_LANE, entry)
    list_append(&line.items, OF_LINE, entry)
    if line.items.oldest == entry:
        line_enter(lane, line)
    else:
        line_moved(lane, BY_NEWEST, line)
    show(lane)


cdef inline void remove(Lanes *lanes, LaneItem *entry) noexcept nogil:
    """Take an item out of its line and its lane, at any place in them."""
    cdef Line *line = entry.line
    cdef Lane *lane = line.lane
    cdef bint was_oldest = line.items.oldest == entry
    cdef bint was_newest = line.items.newest == entry
    list_remove(&lane.items, OF_LANE, entry)
    list_remove(&line.items, OF_LINE, entry)
    lane.length -= 1
    if lane.length == 0:
        lanes.waiting -= 1
    if line.items.oldest == NULL:
        drop_line(lanes, line)
    elif was_oldest:
        line_moved(lane, BY_OLDEST, line)
    elif was_newest:
        line_moved(lane, BY_NEWEST, line)
    entry.slot.item = NULL
    entry.links[OF_LINE].newer = lanes.free_item
    lanes.free_item = entry
    show(lane)


cdef int64_t lanes_put(
    Lanes *lanes, uint32_t index, uint64_t client_key, void *item, int64_t now, int64_t age_ns
) noexcept nogil:
    """Put an item at the end of a lane. Returns its ticket, or a QueueRefusal."""
    cdef Lane *lane = &lanes.lanes[index]
    cdef LaneItem *entry
    cdef uint32_t client = CLIENT_NONE
    check(index < lanes.count, "an item is put into a lane that does not exist")
    if age_ns > 0 and overload_refuses(&lane.overload, now, age_ns):
        return QUEUE_IS_OVERLOADED
    if lane.length >= lane.limit or lanes.closed:
        return QUEUE_IS_FULL
    if lanes.share > 0:
        client = <uint32_t> counts_add(&lanes.counts, client_key)
    entry = lanes.free_item
    lanes.free_item = entry.links[OF_LINE].newer
    slot_fill(&entry.slot, item, now, age_ns)
    entry.number = lanes.puts
    lanes.puts += 1
    append(lanes, lane, line_of(lanes, lane, client), entry)
    return entry - lanes.items


cdef inline bint may_begin(const Lanes *lanes, const Lane *lane) noexcept nogil:
    """Return whether a worker that is idle may begin a turn in a lane."""
    if lanes.closed:
        return True
    if lane.busy >= lane.most:
        return False
    return lane.busy < lane.guaranteed or lanes.threads - lanes.busy > lanes.reserved


cdef inline bint is_preferred(Lane *lane, Lane *other) noexcept nogil:
    """Return whether an item of a lane is taken before one of another lane. Something waits in both."""
    cdef Line *line = lane.heaps[BY_OLDEST][0]
    cdef Line *best = other.heaps[BY_OLDEST][0]
    if line.passed_over != best.passed_over:
        return best.passed_over
    if lane.priority != other.priority:
        return lane.priority > other.priority
    return line.items.oldest.number < best.items.oldest.number


cdef inline Lane *pick(Lanes *lanes) noexcept nogil:
    """Return the lane from which an idle worker takes. NULL: nothing may be taken."""
    cdef Lane *best = NULL
    cdef Lane *lane
    cdef uint32_t index
    if lanes.waiting == 0:
        return NULL
    for index in range(lanes.count):
        lane = &lanes.lanes[index]
        if lane.length > 0 and may_begin(lanes, lane) and (best == NULL or is_preferred(lane, best)):
            best = lane
    return best


cdef bint lanes_have_work(Lanes *lanes) noexcept nogil:
    """Return whether something waits that an idle worker may take."""
    return pick(lanes) != NULL


cdef bint lanes_take(Lanes *lanes, LaneTurn *turn, int64_t now, QueueSlot *slot) noexcept nogil:
    """Take the item that is due, and begin a turn with it. Returns False if nothing may be taken.

    A lane in which the worker finds nothing is no longer overloaded.
    """
    cdef Lane *lane
    cdef LaneItem *entry
    cdef uint32_t index
    for index in range(lanes.count):
        if lanes.lanes[index].length == 0:
            overload_note_empty(&lanes.lanes[index].overload)
    lane = pick(lanes)
    if lane == NULL:
        return False
    overload_look(&lane.overload, now, lane.length, now - lane.items.oldest.slot.put_ns)
    if lane.overload.overloaded:
        entry = lane.heaps[BY_NEWEST][0].items.newest
    else:
        entry = lane.heaps[BY_OLDEST][0].items.oldest
    slot[0] = entry.slot
    overload_note_wait(&lane.overload, now, max(<int64_t> 0, now - slot.put_ns))
    begin_turn(lanes, turn, lane, entry.line.client)
    remove(lanes, entry)
    return True


cdef inline void pass_over(Lanes *lanes, uint32_t client, bint passed_over) noexcept nogil:
    """Let what waits of a client come after what waits of others, or no longer."""
    cdef Line *line = lanes.clients[client].lines
    cdef int order
    while line != NULL:
        line.passed_over = passed_over
        for order in range(LINE_ORDERS):
            line_moved(line.lane, order, line)
        line = line.next


cdef inline void begin_turn(Lanes *lanes, LaneTurn *turn, Lane *lane, uint32_t client) noexcept nogil:
    check(turn.lane == NULL, "a worker begins a turn in a lane before its last one has ended")
    turn.lane = lane
    turn.client = client
    if lane.busy < lane.guaranteed:
        lanes.reserved -= 1
    lane.busy += 1
    lanes.busy += 1
    if lane.counts != NULL:
        set_count(&lane.counts.taken, lane.counts.taken + 1)
    if client != CLIENT_NONE:
        lanes.clients[client].busy += 1
        if lanes.clients[client].busy == lanes.share:
            pass_over(lanes, client, True)


cdef void lanes_end_turn(Lanes *lanes, LaneTurn *turn, int64_t length_ns) noexcept nogil:
    """End a turn, if there is one: its worker, or one that takes its place, may begin another."""
    cdef Lane *lane = turn.lane
    cdef uint32_t client = turn.client
    if lane == NULL:
        return
    turn.lane = NULL
    check(lane.busy > 0 and lanes.busy > 0, "a turn ends in a lane that has none")
    lane.busy -= 1
    lanes.busy -= 1
    show(lane)
    if lane.busy < lane.guaranteed:
        lanes.reserved += 1
    if lane.overload.interval_ns > 0:
        overload_note_turn(&lane.overload, length_ns)
    if client != CLIENT_NONE:
        lanes.clients[client].busy -= 1
        if lanes.clients[client].busy == lanes.share - 1:
            pass_over(lanes, client, False)
        counts_remove(&lanes.counts, client)


cdef bint lanes_have(Lanes *lanes, uint32_t ticket, const void *item) noexcept nogil:
    """Return whether the item with this ticket still waits."""
    return lanes.items[ticket].slot.item == item


cdef void lanes_withdraw(Lanes *lanes, uint32_t ticket) noexcept nogil:
    """Take the item with this ticket out, which waits. Its place is free at once."""
    cdef LaneItem *entry = &lanes.items[ticket]
    cdef uint32_t client = entry.line.client
    remove(lanes, entry)
    counts_remove(&lanes.counts, client)


cdef Lane *lanes_overdue(Lanes *lanes, int64_t now) noexcept nogil:
    """Return an overloaded lane whose oldest item has waited for too long. NULL: there is none."""
    cdef Lane *lane
    cdef const QueueSlot *oldest
    cdef uint32_t index
    for index in range(lanes.count):
        lane = &lanes.lanes[index]
        if lane.length == 0:
            continue
        oldest = &lane.items.oldest.slot
        if overload_is_overdue(&lane.overload, now, lane.length, oldest.put_ns, oldest.age_ns):
            return lane
    return NULL


cdef bint lanes_expire(Lanes *lanes, int64_t now, QueueSlot *slot) noexcept nogil:
    """Take the oldest item out of an overloaded lane in which it has waited for too long. False: there is none."""
    cdef Lane *lane = lanes_overdue(lanes, now)
    if lane == NULL:
        return False
    slot[0] = lane.items.oldest.slot
    lanes_withdraw(lanes, lane.items.oldest - lanes.items)
    return True


cdef int64_t lanes_oldest_ns(Lanes *lanes) noexcept nogil:
    """Return since when the oldest item has waited. There is one."""
    cdef LaneItem *oldest = NULL
    cdef uint32_t index
    for index in range(lanes.count):
        if lanes.lanes[index].length > 0 and (
            oldest == NULL or lanes.lanes[index].items.oldest.number < oldest.number
        ):
            oldest = lanes.lanes[index].items.oldest
    return oldest.slot.put_ns
