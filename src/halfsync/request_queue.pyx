"""The bounded queue from which worker threads take what the async half, or a caller, puts into it.

Any thread may call any function. Putting never blocks and never wakes: the putter calls `queue_wake` once after a
batch. At most one sleeper at a time is on its way between being told to wake and looking at the queue; when it finds
more than it takes, it tells the next. So a burst that one awake worker can serve wakes one worker, a burst that blocks
its workers wakes them one after the other, and nobody is woken twice for one item.

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


cdef int queue_init(Queue *queue, uint32_t limit) noexcept nogil:
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
    queue.first = queue.length = queue.sleepers = queue.waking = 0
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
    """Put an item at the end. Returns its ticket, or -1 when the queue is full or closed: the item is still the caller's.
    """
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


cdef void queue_wake(Queue *queue) noexcept nogil:
    """Wake a worker if there is work, one sleeps, and none is on its way already. Call once after a batch of puts."""
    cdef bint post = False
    pthread_mutex_lock(&queue.lock)
    if queue.length > 0 and queue.sleepers > 0 and queue.waking == 0:
        queue.sleepers -= 1
        queue.waking += 1
        post = True
    pthread_mutex_unlock(&queue.lock)
    if post:
        sem_post(&queue.wake)


cdef int queue_try_take(Queue *queue, bint woken, QueueSlot *slot) noexcept nogil:
    """Take the first item, if there is one. woken: this call follows a queue_sleep. Returns a Taken."""
    cdef bint post = False
    cdef int result = TAKEN_ITEM
    pthread_mutex_lock(&queue.lock)
    if woken and queue.waking > 0:
        queue.waking -= 1
    if queue.length > 0:
        slot[0] = queue.slots[queue.first]
        queue.first = (queue.first + 1) & queue.mask
        queue.length -= 1
        queue.waited_ns += max(0, monotonic_ns() - slot.put_ns)
        if queue.length > 0 and queue.sleepers > 0 and queue.waking == 0:
            queue.sleepers -= 1
            queue.waking += 1
            post = True
    elif queue.closed:
        result = TAKEN_CLOSED
    else:
        queue.sleepers += 1
        result = TAKEN_SLEEP
    pthread_mutex_unlock(&queue.lock)
    if post:
        sem_post(&queue.wake)
    return result


cdef void queue_sleep(Queue *queue) noexcept nogil:
    """Sleep until told to wake. Call without the GIL, after queue_try_take said TAKEN_SLEEP."""
    while sem_wait(&queue.wake) != 0 and errno == EINTR:
        pass


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
