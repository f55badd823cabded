# The bounded queue between the halves: a mutex, a semaphore and a ring.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from halfsync.native.sync cimport pthread_mutex_t, sem_t
from halfsync.pool.overload cimport Overload
from halfsync.shared.metrics cimport QueueGauge

ctypedef struct QueueSlot:
    void *item                # NULL: it was withdrawn
    int64_t put_ns            # the monotonic clock when it was put
    int64_t age_ns            # how long it had waited elsewhere
    int64_t taken_ns          # the monotonic clock when it was taken

ctypedef struct Queue:
    pthread_mutex_t lock      # guards everything below except the semaphore
    sem_t wake                # one permit for each sleeper chosen to wake
    QueueSlot *slots
    uint32_t mask             # number of slots, minus one; the number is a power of two
    uint32_t limit            # most items that it may hold
    uint32_t first
    uint32_t length
    uint32_t ticket           # of the first slot
    uint32_t sleepers         # workers that wait on the semaphore and were not chosen to wake
    uint32_t waking           # workers chosen to wake that have not looked yet
    uint32_t awake            # workers that are in a turn, or look for one
    int64_t turn_ns           # how long a turn takes: an estimate of the median
    bint patient              # see pool/request_queue.pyx; the owner of a patient queue must call queue_check
    bint closed
    uint64_t puts
    uint64_t refused          # because it was full or closed
    uint64_t withdrawn        # or expired, and no longer counted in `length`
    int64_t waited_ns         # over all items taken
    Overload overload
    QueueGauge *gauge         # shows others what waits; NULL: none looks

# What the owner of a patient queue remembers of it. Zeroed at first.
ctypedef struct QueueWatch:
    uint64_t taken            # items taken so far
    int64_t since             # ns; when that number was first seen
    bint waits                # an item waited
    bint overdue              # the queue is overloaded, and the first item has waited for too long

# One worker's own record of its taking. Zeroed before the first take; only that worker touches it.
ctypedef struct Taker:
    bint counted              # it is counted as awake
    bint woken                # it has just been woken
    int64_t took_ns           # when its turn began; 0: it is in none

cdef int queue_init(Queue *queue, uint32_t limit, bint patient) noexcept nogil
cdef void queue_destroy(Queue *queue) noexcept nogil
cdef int64_t queue_put(Queue *queue, void *item, int64_t now_ns, int64_t age_ns) noexcept nogil
cdef void queue_wake(Queue *queue) noexcept nogil
cdef int64_t queue_check(Queue *queue, QueueWatch *watch, int64_t now) noexcept nogil
cdef int queue_try_take(Queue *queue, Taker *taker, QueueSlot *slot) noexcept nogil
cdef void queue_sleep(Queue *queue, Taker *taker) noexcept nogil
cdef void queue_count_out(Queue *queue) noexcept nogil
cdef void queue_count_in(Queue *queue) noexcept nogil
cdef void queue_close(Queue *queue) noexcept nogil
cdef uint32_t queue_length(Queue *queue) noexcept nogil
cdef bint queue_is_short(Queue *queue) noexcept nogil
cdef uint64_t queue_taken(Queue *queue, uint32_t *length) noexcept nogil
cdef bint queue_withdraw(Queue *queue, uint32_t ticket, const void *item) noexcept nogil
cdef int queue_overload_s(Queue *queue, int64_t now) noexcept nogil
cdef bint queue_expire(Queue *queue, int64_t now, QueueSlot *slot) noexcept nogil
cdef bint queue_hold(Queue *queue, uint32_t ticket, const void *item) noexcept nogil
cdef void queue_unhold(Queue *queue) noexcept nogil

# Results of queue_try_take.
cdef enum QueueTaken:
    TAKEN_ITEM
    TAKEN_SLEEP               # nothing there: the caller is counted as a sleeper and must call queue_sleep
    TAKEN_CLOSED              # nothing there, and nothing will come

# Why queue_put did not take an item.
cdef enum QueueRefusal:
    QUEUE_IS_FULL = -1        # or closed
    QUEUE_IS_OVERLOADED = -2  # and the item has waited for too long elsewhere
