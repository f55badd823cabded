"""The bounded queue from which worker threads take what the async half, or a caller, puts into it.

Any thread may put items. It calls `queue_wake` once after a batch: queue_put itself never blocks and never wakes.

Which worker to wake is a question of cost. A worker that is awake takes the next item when its turn is over. Waking
another one pays only if that turn is long: two workers cannot run Python at the same time, and a wake-up costs as much
as a short turn. So a patient queue leaves the item to an awake worker while turns are short. If turns are long, or no
worker is awake, it wakes one sleeper at a time: a sleeper that finds more than it takes wakes the next. The length of
turns is judged by their median, which a few slow turns do not move. It can therefore be wrong about the current turn,
so the owner of a patient queue must call `queue_check`, which wakes a sleeper if something waits and nothing was taken
for a moment. A queue that is not patient wakes a sleeper whenever something waits.

A queue may be divided into lanes, which then decide what is taken (lanes.pyx); the rest of this is the same.

The first item is taken first. In an overloaded queue (overload.pxd) the last one is, and its owner must call
`queue_expire` often, and refuse what that returns: the items that have waited too long, from the first on.

Either side holds the lock for a few instructions only, and never waits for the GIL with it. So a worker may take the
lock while it holds the GIL.
"""
from libc.errno cimport EINTR, errno
from libc.stdlib cimport calloc, free, malloc

from halfsync.native.checks cimport COUNT_QUEUE, check, count
from halfsync.native.counting cimport set_count
from halfsync.native.sync cimport (
    monotonic_ns, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
    sem_destroy, sem_init, sem_post, sem_wait,
)
from halfsync.pool.lane_records cimport LANE_DEFAULT
from halfsync.pool.lanes cimport lanes_close, lanes_end_turn, lanes_open, lanes_put
from halfsync.pool.overload cimport overload_init, overload_note_turn, overload_retry_s
from halfsync.pool.queue_items cimport (
    has_work, is_one, is_overdue, oldest_ns, put_in_ring, still_waits, take_next, take_out, take_overdue,
)
from halfsync.shared.client_counts cimport KEY_NONE

cdef enum:
    SHORT_TURN_NS = 100000  # a wake-up, with the hand-over of the GIL, costs a good part of this
    TURN_LEAST_NS = 1000  # bounds of the estimate: it then follows a change within about forty turns
    TURN_MOST_NS = 1000000
    STALL_NS = 1000000  # nothing was taken for so long, while something waits: awake workers are in long turns
    REST_MOST_NS = 4000000


cdef int queue_init(Queue *queue, uint32_t limit, bint patient) noexcept nogil:
    """Make an empty queue for at most `limit` items (1 or more). Returns 0, or -1 if memory is short."""
    cdef uint32_t size = 1
    while size < limit:
        size <<= 1
    queue.slots = <QueueSlot *> calloc(size, sizeof(QueueSlot))
    if queue.slots == NULL:
        return -1
    pthread_mutex_init(&queue.lock, NULL)
    sem_init(&queue.wake, 0, 0)
    queue.mask = size - 1
    queue.limit = limit
    queue.first = queue.length = queue.sleepers = queue.waking = queue.awake = 0
    queue.turn_ns = TURN_MOST_NS
    queue.patient = patient
    queue.closed = False
    queue.puts = queue.refused = queue.withdrawn = queue.ticket = 0
    queue.waited_ns = 0
    overload_init(&queue.overload, 0, 0)
    queue.lanes = NULL
    queue.gauge = NULL
    count(COUNT_QUEUE, 1)
    return 0


cdef int queue_divide(Queue *queue, const Lanes *lanes) noexcept nogil:
    """Divide a new queue into lanes, which are described as lanes_open needs it. Returns 0, or -1: memory is short."""
    queue.lanes = <Lanes *> malloc(sizeof(Lanes))
    if queue.lanes == NULL:
        return -1
    queue.lanes[0] = lanes[0]
    if lanes_open(queue.lanes) < 0:
        free(queue.lanes)
        queue.lanes = NULL
        return -1
    return 0


cdef void queue_destroy(Queue *queue) noexcept nogil:
    """Free an empty queue. No thread may use it afterwards."""
    if queue.slots == NULL:
        return
    check(queue.length == 0 and queue.sleepers == 0, "a queue is destroyed while it is used")
    if queue.lanes != NULL:
        lanes_close(queue.lanes)
        free(queue.lanes)
    free(queue.slots)
    queue.slots = NULL
    sem_destroy(&queue.wake)
    pthread_mutex_destroy(&queue.lock)
    count(COUNT_QUEUE, -1)


cdef inline void show(Queue *queue) noexcept nogil:
    """Show what waits, once that has changed. The caller holds the lock."""
    if queue.gauge != NULL:
        if queue.length > 0:
            set_count(&queue.gauge.oldest_ns, oldest_ns(queue))
        set_count(&queue.gauge.length, queue.length)


cdef inline int64_t note_put(Queue *queue, int64_t result) noexcept nogil:
    """Count an item that was put, or refused, and release the lock. Returns its ticket, or a QueueRefusal."""
    if result >= 0:
        queue.length += 1
        queue.puts += 1
        show(queue)
    else:
        queue.refused += 1
    pthread_mutex_unlock(&queue.lock)
    return result


cdef int64_t queue_put(Queue *queue, void *item, int64_t now_ns, int64_t age_ns) noexcept nogil:
    """Put an item at the end. Returns its ticket, or a QueueRefusal; then the caller still owns the item.

    age_ns: how long it has waited elsewhere already. That counts when it is judged whether it has waited too long, but
    not when it is judged whether this queue is overloaded.
    """
    if queue.lanes != NULL:
        return queue_put_in_lane(queue, item, now_ns, age_ns, LANE_DEFAULT, KEY_NONE)
    pthread_mutex_lock(&queue.lock)
    return note_put(queue, put_in_ring(queue, item, now_ns, age_ns))


cdef int64_t queue_put_in_lane(
    Queue *queue, void *item, int64_t now_ns, int64_t age_ns, uint32_t lane, uint64_t client_key
) noexcept nogil:
    """Put an item at the end of a lane, as queue_put does. client_key: of the client whose share it counts to."""
    pthread_mutex_lock(&queue.lock)
    return note_put(queue, lanes_put(queue.lanes, lane, client_key, item, now_ns, age_ns))


cdef inline void choose_one(Queue *queue) noexcept nogil:
    """Choose a sleeper to wake. The caller holds the lock, and posts the semaphore after it."""
    queue.sleepers -= 1
    queue.waking += 1


cdef inline bint tell_one(Queue *queue) noexcept nogil:
    """Choose a sleeper to wake, if one should be woken. The caller holds the lock, and posts the semaphore after it."""
    if queue.length == 0 or queue.sleepers == 0 or queue.waking > 0:
        return False
    if queue.patient and queue.awake > 0 and queue.turn_ns < SHORT_TURN_NS and is_one(queue):
        return False
    if not has_work(queue):
        return False
    choose_one(queue)
    return True


cdef void queue_wake(Queue *queue) noexcept nogil:
    """Wake a worker if there is work that no awake worker will take soon. Call once after a batch of puts."""
    pthread_mutex_lock(&queue.lock)
    cdef bint post = tell_one(queue)
    pthread_mutex_unlock(&queue.lock)
    if post:
        sem_post(&queue.wake)


cdef int64_t queue_check(Queue *queue, QueueWatch *watch, int64_t now) noexcept nogil:
    """Attend to a patient queue: its owner must call this after each batch of puts, and again soon while `watch.waits`.

    Wakes a worker as queue_wake does, or if something waits and nothing was taken for STALL_NS. Returns how long the
    owner may rest, in ns: three quarters of what the awake workers need for the waiting items. More items would only
    wait behind those, and each look at the sockets takes the processor from a worker, or costs a wake-up at least.
    """
    cdef uint64_t taken
    cdef bint post, moved
    cdef int64_t rest = 0
    pthread_mutex_lock(&queue.lock)
    taken = queue.puts - queue.length
    moved = taken != watch.taken
    if moved or queue.length == 0:
        watch.taken = taken
        watch.since = now
    post = tell_one(queue)
    if not post and queue.sleepers > 0 and queue.waking == 0 and now - watch.since >= STALL_NS and has_work(queue):
        watch.since = now
        choose_one(queue)
        post = True
    watch.waits = queue.length > 0
    watch.overdue = queue.length > 0 and is_overdue(queue, now)
    if moved and queue.awake > 0 and queue.turn_ns < SHORT_TURN_NS and is_one(queue) and has_work(queue):
        rest = min(queue.length * queue.turn_ns * 3 // 4, <int64_t> REST_MOST_NS)
    pthread_mutex_unlock(&queue.lock)
    if post:
        sem_post(&queue.wake)
    return rest


cdef inline void note_look(Queue *queue, Taker *taker, int64_t now) noexcept nogil:
    """Note that a worker looks for work: the end of its last turn, or of its sleep. The caller holds the lock."""
    cdef int64_t length = now - taker.took_ns
    if taker.woken:
        taker.woken = False
        if queue.waking > 0:
            queue.waking -= 1
    if not taker.counted:
        taker.counted = True
        queue.awake += 1
    if taker.took_ns == 0:
        return
    # Move towards the median: up if a turn was longer than the estimate, down if it was not.
    if length > queue.turn_ns:
        queue.turn_ns = min(queue.turn_ns + (queue.turn_ns >> 3), <int64_t> TURN_MOST_NS)
    else:
        queue.turn_ns = max(queue.turn_ns - (queue.turn_ns >> 3), <int64_t> TURN_LEAST_NS)
    if queue.lanes != NULL:
        lanes_end_turn(queue.lanes, &taker.turn, length)
    elif queue.overload.interval_ns > 0:
        overload_note_turn(&queue.overload, length)


cdef int queue_try_take(Queue *queue, Taker *taker, QueueSlot *slot) noexcept nogil:
    """Take an item, if there is one to take. Ends the caller's previous turn. Returns a QueueTaken."""
    cdef bint post = False
    cdef int result = TAKEN_ITEM
    cdef int64_t now = monotonic_ns()
    pthread_mutex_lock(&queue.lock)
    note_look(queue, taker, now)
    if take_next(queue, taker, slot, now):
        show(queue)
        queue.waited_ns += max(<int64_t> 0, now - slot.put_ns)
        taker.took_ns = slot.taken_ns = now
        post = tell_one(queue)
    else:
        taker.took_ns = 0
        taker.counted = False
        queue.awake -= 1
        if queue.closed:
            result = TAKEN_CLOSED
        else:
            queue.sleepers += 1
            result = TAKEN_SLEEP
    pthread_mutex_unlock(&queue.lock)
    if post:
        sem_post(&queue.wake)
    return result


cdef void queue_sleep(Queue *queue, Taker *taker) noexcept nogil:
    """Sleep until woken. Call without the GIL, after queue_try_take returned TAKEN_SLEEP."""
    while sem_wait(&queue.wake) != 0 and errno == EINTR:
        pass
    taker.woken = True


cdef inline void count_worker(Queue *queue, int change) noexcept nogil:
    """Count a worker more, or less, and release the lock. Wakes one if there is now work that it may take."""
    cdef bint post = False
    if queue.lanes != NULL:
        queue.lanes.threads += change
        post = tell_one(queue)
    pthread_mutex_unlock(&queue.lock)
    if post:
        sem_post(&queue.wake)


cdef void queue_count_out(Queue *queue, Taker *taker) noexcept nogil:
    """Stop counting a worker: it will not return from its turn soon. For its lane the turn has ended."""
    pthread_mutex_lock(&queue.lock)
    queue.awake -= 1
    if queue.lanes != NULL:
        lanes_end_turn(queue.lanes, &taker.turn, monotonic_ns() - taker.took_ns)
    count_worker(queue, -1)


cdef void queue_count_in(Queue *queue) noexcept nogil:
    """Count a worker again: it returned after all."""
    pthread_mutex_lock(&queue.lock)
    queue.awake += 1
    count_worker(queue, 1)


cdef void queue_count_new(Queue *queue) noexcept nogil:
    """Count a worker that was started in the place of another one."""
    pthread_mutex_lock(&queue.lock)
    count_worker(queue, 1)


cdef void queue_close(Queue *queue) noexcept nogil:
    """Refuse every put from now on and wake every sleeper. What is in the queue can still be taken."""
    cdef uint32_t sleepers
    pthread_mutex_lock(&queue.lock)
    queue.closed = True
    if queue.lanes != NULL:
        queue.lanes.closed = True
    sleepers = queue.sleepers
    queue.sleepers = 0
    queue.waking += sleepers
    pthread_mutex_unlock(&queue.lock)
    while sleepers > 0:
        sem_post(&queue.wake)
        sleepers -= 1


cdef uint32_t queue_length(Queue *queue) noexcept nogil:
    """Return how many items wait now."""
    cdef uint32_t length
    pthread_mutex_lock(&queue.lock)
    length = queue.length
    pthread_mutex_unlock(&queue.lock)
    return length


cdef bint queue_is_short(Queue *queue) noexcept nogil:
    """Return whether more items wait than workers sleep or are waking: then some must wait for a turn to end."""
    cdef bint short_
    pthread_mutex_lock(&queue.lock)
    short_ = queue.length > queue.waking + queue.sleepers
    pthread_mutex_unlock(&queue.lock)
    return short_


cdef uint64_t queue_taken(Queue *queue, uint32_t *length) noexcept nogil:
    """Return how many items were taken so far, and how many wait at that moment."""
    cdef uint64_t taken
    pthread_mutex_lock(&queue.lock)
    length[0] = queue.length
    taken = queue.puts - queue.length - queue.withdrawn
    pthread_mutex_unlock(&queue.lock)
    return taken


cdef bint queue_withdraw(Queue *queue, uint32_t ticket, const void *item) noexcept nogil:
    """Take the item with this ticket out of the queue, at any position. Returns False if it was taken already.

    Without lanes its place becomes free once all items before it, or all behind it, have left.
    """
    cdef bint waited
    pthread_mutex_lock(&queue.lock)
    waited = take_out(queue, ticket, item)
    if waited:
        show(queue)
    pthread_mutex_unlock(&queue.lock)
    return waited


cdef int queue_overload_s(Queue *queue, uint32_t lane, int64_t now) noexcept nogil:
    """Return after how many seconds a client that was refused in this lane should try again."""
    cdef int seconds
    pthread_mutex_lock(&queue.lock)
    seconds = overload_retry_s(&queue.overload if queue.lanes == NULL else &queue.lanes.lanes[lane].overload, now)
    pthread_mutex_unlock(&queue.lock)
    return seconds


cdef void queue_lane_counts(Queue *queue, uint32_t lane, uint32_t *waiting, uint32_t *busy) noexcept nogil:
    """Return how many items wait in a lane, and how many turns are under way."""
    pthread_mutex_lock(&queue.lock)
    waiting[0] = queue.lanes.lanes[lane].length
    busy[0] = queue.lanes.lanes[lane].busy
    pthread_mutex_unlock(&queue.lock)


cdef bint queue_expire(Queue *queue, int64_t now, QueueSlot *slot) noexcept nogil:
    """Take the first item out of an overloaded queue, or lane, if it has waited for too long. False: there is none."""
    cdef bint expired
    pthread_mutex_lock(&queue.lock)
    expired = take_overdue(queue, now, slot)
    if expired:
        queue.withdrawn += 1
        show(queue)
    pthread_mutex_unlock(&queue.lock)
    return expired


cdef bint queue_hold(Queue *queue, uint32_t ticket, const void *item) noexcept nogil:
    """Keep the item with this ticket from being taken, if it still waits. After True, call queue_unhold at once."""
    pthread_mutex_lock(&queue.lock)
    if still_waits(queue, ticket, item):
        return True
    pthread_mutex_unlock(&queue.lock)
    return False


cdef void queue_unhold(Queue *queue) noexcept nogil:
    """Let the queue go on after a queue_hold that returned True."""
    pthread_mutex_unlock(&queue.lock)
