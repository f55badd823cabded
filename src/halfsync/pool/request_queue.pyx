"""The bounded queue from which worker threads take what the async half, or a caller, puts into it.

Any thread may put, and the putter calls `queue_wake` once after a batch: putting itself never blocks and never wakes.

Whom to wake is a question of cost. A worker that is awake takes the next item when its turn is over; waking another for
it pays only if that turn is long, for two workers cannot run Python at the same time and a wake-up costs as much as a
short turn. A patient queue therefore leaves it to one awake worker while turns are short; when they are long, or nobody
is awake, a sleeper is woken, one at a time: when it finds more than it takes, it tells the next. How long turns are is
judged by their median, which a few slow ones do not move; so it can be wrong about the turn under way, and the owner of
a patient queue must attend to it: `queue_check` wakes a sleeper when something waits and nothing was taken for a
moment. A queue that is not patient wakes a sleeper whenever something waits.

The lock is held for a few instructions by either side and never together with the wish for the GIL, so a worker may
take it while it holds the GIL.
"""
from libc.errno cimport EINTR, errno
from libc.stdlib cimport calloc, free

from halfsync.native.checks cimport COUNT_QUEUE, check, count
from halfsync.native.sync cimport (
    monotonic_ns, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
    sem_destroy, sem_init, sem_post, sem_wait,
)

cdef enum:
    SHORT_TURN_NS = 100000  # a wake-up, with the GIL's change of hands, costs a good part of this
    TURN_LEAST_NS = 1000  # the estimate stays between these, so that it follows a change within some forty turns
    TURN_MOST_NS = 1000000
    STALL_NS = 1000000  # without a taking, while something waits: the workers that are awake are in long turns
    REST_MOST_NS = 4000000


cdef int queue_init(Queue *queue, uint32_t limit, bint patient) noexcept nogil:
    """Make an empty queue for at most `limit` items (1 or more). Returns 0, or -1 when memory is short."""
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
    queue.puts = queue.refused = 0
    queue.waited_ns = 0
    count(COUNT_QUEUE, 1)
    return 0


cdef void queue_destroy(Queue *queue) noexcept nogil:
    """Free an empty queue that nobody uses any more."""
    if queue.slots == NULL:
        return
    check(queue.length == 0 and queue.sleepers == 0, "a queue is destroyed while it is used")
    free(queue.slots)
    queue.slots = NULL
    sem_destroy(&queue.wake)
    pthread_mutex_destroy(&queue.lock)
    count(COUNT_QUEUE, -1)


cdef int64_t queue_put(Queue *queue, void *item, int64_t now_ns) noexcept nogil:
    """Put an item at the end. Returns its ticket; -1 when full or closed: the item is still the caller's."""
    cdef QueueSlot *slot
    cdef int64_t result = -1
    pthread_mutex_lock(&queue.lock)
    if queue.length < queue.limit and not queue.closed:
        slot = &queue.slots[(queue.first + queue.length) & queue.mask]
        slot.item = item
        slot.put_ns = now_ns
        queue.length += 1
        result = queue.puts
        queue.puts += 1
    else:
        queue.refused += 1
    pthread_mutex_unlock(&queue.lock)
    return result


cdef inline bint tell_one(Queue *queue) noexcept nogil:
    """Choose a sleeper to be woken, if one should be. The caller holds the lock and posts after it."""
    if queue.length == 0 or queue.sleepers == 0 or queue.waking > 0:
        return False
    if queue.patient and queue.awake > 0 and queue.turn_ns < SHORT_TURN_NS:
        return False
    queue.sleepers -= 1
    queue.waking += 1
    return True


cdef void queue_wake(Queue *queue) noexcept nogil:
    """Wake a worker if there is work that no awake worker will take soon. Call once after a batch of puts."""
    pthread_mutex_lock(&queue.lock)
    cdef bint post = tell_one(queue)
    pthread_mutex_unlock(&queue.lock)
    if post:
        sem_post(&queue.wake)


cdef int64_t queue_check(Queue *queue, QueueWatch *watch, int64_t now) noexcept nogil:
    """Do what the owner of a patient queue must do after each batch of puts, and soon again while `watch.waits`.

    Wakes a worker as queue_wake does, or when something waits and nothing was taken for STALL_NS. Returns how long
    the owner may rest, in ns: three quarters of what the awake workers need for what waits. More of the same would
    only stand behind that, and each look at the sockets takes the processor from a worker, or at least a wake-up.
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
    if not post and queue.length > 0 and queue.sleepers > 0 and queue.waking == 0 and now - watch.since >= STALL_NS:
        watch.since = now
        queue.sleepers -= 1
        queue.waking += 1
        post = True
    watch.waits = queue.length > 0
    if moved and queue.awake > 0 and queue.turn_ns < SHORT_TURN_NS:
        rest = min(queue.length * queue.turn_ns * 3 // 4, <int64_t> REST_MOST_NS)
    pthread_mutex_unlock(&queue.lock)
    if post:
        sem_post(&queue.wake)
    return rest


cdef inline void skip_withdrawn(Queue *queue) noexcept nogil:
    """Let an item be first that can be taken. The caller holds the lock."""
    while queue.length > 0 and queue.slots[queue.first].item == NULL:
        queue.first = (queue.first + 1) & queue.mask
        queue.length -= 1


cdef int queue_try_take(Queue *queue, Taker *taker, QueueSlot *slot) noexcept nogil:
    """Take the first item, if there is one; the caller's turn before it is over. Returns a QueueTaken."""
    cdef bint post = False
    cdef int result = TAKEN_ITEM
    cdef int64_t now = monotonic_ns()
    pthread_mutex_lock(&queue.lock)
    if taker.woken:
        taker.woken = False
        if queue.waking > 0:
            queue.waking -= 1
    if not taker.counted:
        taker.counted = True
        queue.awake += 1
    if taker.took_ns > 0:
        # Towards the median: up when a turn was longer than the estimate, down when it was shorter.
        if now - taker.took_ns > queue.turn_ns:
            queue.turn_ns = min(queue.turn_ns + (queue.turn_ns >> 3), <int64_t> TURN_MOST_NS)
        else:
            queue.turn_ns = max(queue.turn_ns - (queue.turn_ns >> 3), <int64_t> TURN_LEAST_NS)
    skip_withdrawn(queue)
    if queue.length > 0:
        slot[0] = queue.slots[queue.first]
        queue.first = (queue.first + 1) & queue.mask
        queue.length -= 1
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
    """Sleep until told to wake. Call without the GIL, after queue_try_take said TAKEN_SLEEP."""
    while sem_wait(&queue.wake) != 0 and errno == EINTR:
        pass
    taker.woken = True


cdef void queue_count_out(Queue *queue) noexcept nogil:
    """Count a taker out that will not come back from its turn in any time worth waiting for."""
    pthread_mutex_lock(&queue.lock)
    queue.awake -= 1
    pthread_mutex_unlock(&queue.lock)


cdef void queue_count_in(Queue *queue) noexcept nogil:
    """Count a taker in again that came back after all."""
    pthread_mutex_lock(&queue.lock)
    queue.awake += 1
    pthread_mutex_unlock(&queue.lock)


cdef void queue_close(Queue *queue) noexcept nogil:
    """Refuse every put from now on and wake every sleeper. What is in the queue can still be taken."""
    cdef uint32_t sleepers
    pthread_mutex_lock(&queue.lock)
    queue.closed = True
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
    """Tell whether more waits than there are workers who sleep, or were told to wake: it waits for a turn to end."""
    cdef bint short_
    pthread_mutex_lock(&queue.lock)
    short_ = queue.length > queue.waking + queue.sleepers
    pthread_mutex_unlock(&queue.lock)
    return short_


cdef uint64_t queue_taken(Queue *queue, uint32_t *length) noexcept nogil:
    """Return how many items were taken, or withdrawn, so far; and how many wait at that moment."""
    cdef uint64_t taken
    pthread_mutex_lock(&queue.lock)
    length[0] = queue.length
    taken = queue.puts - queue.length
    pthread_mutex_unlock(&queue.lock)
    return taken


cdef bint queue_withdraw(Queue *queue, uint64_t ticket) noexcept nogil:
    """Take the item with this ticket out of the queue, wherever it stands. Returns False when it was taken already.

    Its place is free once those before it have left; who withdraws what has waited longest frees it at once.
    """
    cdef uint64_t taken
    cdef bint waits
    pthread_mutex_lock(&queue.lock)
    taken = queue.puts - queue.length
    waits = ticket >= taken
    if waits:
        queue.slots[(queue.first + (ticket - taken)) & queue.mask].item = NULL
        skip_withdrawn(queue)
    pthread_mutex_unlock(&queue.lock)
    return waits


cdef bint queue_hold(Queue *queue, uint64_t ticket) noexcept nogil:
    """Keep the item with this ticket from being taken, if it still waits. After True, call queue_unhold at once."""
    pthread_mutex_lock(&queue.lock)
    if ticket >= queue.puts - queue.length:
        return True
    pthread_mutex_unlock(&queue.lock)
    return False


cdef void queue_unhold(Queue *queue) noexcept nogil:
    """Let the queue go on after a queue_hold that returned True."""
    pthread_mutex_unlock(&queue.lock)
