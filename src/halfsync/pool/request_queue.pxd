# The bounded queue between the halves: a mutex, a semaphore and a ring, or lanes in place of the ring.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from halfsync.pool.lane_records cimport Lanes
from halfsync.pool.queue_records cimport Queue, QueueWatch, Taker
from halfsync.pool.queue_slot cimport QueueSlot

cdef int queue_init(Queue *queue, uint32_t limit, bint patient) noexcept nogil
cdef int queue_divide(Queue *queue, const Lanes *lanes) noexcept nogil
cdef void queue_destroy(Queue *queue) noexcept nogil
cdef int64_t queue_put(Queue *queue, void *item, int64_t now_ns, int64_t age_ns) noexcept nogil
cdef int64_t queue_put_in_lane(
    Queue *queue, void *item, int64_t now_ns, int64_t age_ns, uint32_t lane, uint64_t client_key) noexcept nogil
cdef void queue_wake(Queue *queue) noexcept nogil
cdef int64_t queue_check(Queue *queue, QueueWatch *watch, int64_t now) noexcept nogil
cdef int queue_try_take(Queue *queue, Taker *taker, QueueSlot *slot) noexcept nogil
cdef void queue_sleep(Queue *queue, Taker *taker) noexcept nogil
cdef void queue_count_out(Queue *queue, Taker *taker) noexcept nogil
cdef void queue_count_in(Queue *queue) noexcept nogil
cdef void queue_count_new(Queue *queue) noexcept nogil
cdef void queue_close(Queue *queue) noexcept nogil
cdef uint32_t queue_length(Queue *queue) noexcept nogil
cdef bint queue_is_short(Queue *queue) noexcept nogil
cdef uint64_t queue_taken(Queue *queue, uint32_t *length) noexcept nogil
cdef bint queue_withdraw(Queue *queue, uint32_t ticket, const void *item) noexcept nogil
cdef int queue_overload_s(Queue *queue, uint32_t lane, int64_t now) noexcept nogil
cdef void queue_lane_counts(Queue *queue, uint32_t lane, uint32_t *waiting, uint32_t *busy) noexcept nogil
cdef bint queue_expire(Queue *queue, int64_t now, QueueSlot *slot) noexcept nogil
cdef bint queue_hold(Queue *queue, uint32_t ticket, const void *item) noexcept nogil
cdef void queue_unhold(Queue *queue) noexcept nogil

# Results of queue_try_take.
cdef enum QueueTaken:
    TAKEN_ITEM
    TAKEN_SLEEP               # nothing there: the caller is counted as a sleeper and must call queue_sleep
    TAKEN_CLOSED              # nothing there, and nothing will come
