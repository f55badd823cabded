# Whether a queue is overloaded, and how long an item may wait then. decisions/0035 has the rule, and the rules that it
# was compared with. The record belongs to a queue, and is guarded by its lock; the clock is an argument.
from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t

cdef enum:
    MEAN_WEIGHT = 256         # turns over which the mean is taken
    WAIT_MEANS = 6            # of the mean turn, that an item may wait
    FIRST_SHARE = 2           # the limit is divided by this where the first item is always taken first
    SECOND_NS = 1000000000
    RETRY_MOST_S = 60         # after which a refused client is asked to try again
    WAIT_SPREADS = 3          # of the mean turn weighted by its length: long turns among short ones make long waits
    INTERVAL_MEANS = 2        # of the mean turn, that an interval lasts at least: turns must end in it

ctypedef struct Overload:
    int64_t interval_ns       # over which a queue must stand to be overloaded; 0: it never is
    int64_t target_ns         # least time that an item may wait in an overloaded queue
    double mean_ns            # of the length of a turn
    double square_ns2         # mean of its square
    uint32_t turns            # ended so far, up to MEAN_WEIGHT
    int64_t taken_ns          # when an item was last taken
    int64_t since_ns          # when the interval began
    int64_t least_wait_ns     # of the items taken in it; INT64_MAX: none was
    uint32_t length           # of the queue when it began
    bint overloaded
    int64_t overloaded_ns     # since when
    uint64_t overloads        # how often it became so


cdef inline void overload_init(Overload *overload, int64_t interval_ns, int64_t target_ns) noexcept nogil:
    """Begin without overload, and without knowledge of turns. interval_ns 0: the queue is never overloaded."""
    overload.interval_ns = interval_ns
    overload.target_ns = target_ns
    overload.mean_ns = overload.square_ns2 = 0
    overload.turns = 0
    overload.taken_ns = overload.since_ns = 0
    overload.least_wait_ns = INT64_MAX
    overload.length = 0
    overload.overloaded = False
    overload.overloaded_ns = 0
    overload.overloads = 0


cdef inline void overload_note_turn(Overload *overload, int64_t length_ns) noexcept nogil:
    """Count a turn that has ended. The first turns count fully, later ones move the mean by 1/MEAN_WEIGHT."""
    cdef double length = <double> length_ns
    if overload.turns < MEAN_WEIGHT:
        overload.turns += 1
    overload.mean_ns += (length - overload.mean_ns) / overload.turns
    overload.square_ns2 += (length * length - overload.square_ns2) / overload.turns


cdef inline int64_t overload_limit(const Overload *overload, int64_t now) noexcept nogil:
    """Return how long an item may wait in an overloaded queue, in ns. For a queue in which something waits.

    Turns under way count, too: each has lasted since the last item was taken at least. So nothing is refused only
    because the first turns, or all of them, are slow.
    """
    cdef int64_t turn = max(<int64_t> overload.mean_ns, now - overload.taken_ns)
    cdef int64_t limit = WAIT_MEANS * turn
    if overload.mean_ns > 0:
        limit += <int64_t> (WAIT_SPREADS * overload.square_ns2 / overload.mean_ns)
    return max(limit, overload.target_ns)


cdef inline int64_t overload_limit_of_first(const Overload *overload, int64_t now) noexcept nogil:
    """Return that limit for a queue whose first item is always taken first.

    Each item that is served has waited for nearly as long then, and its client is still to be there after the turn. So
    the limit is shorter than what makes the queue overloaded.
    """
    return max(overload_limit(overload, now) // FIRST_SHARE, overload.target_ns)


cdef inline void overload_note_wait(Overload *overload, int64_t now, int64_t wait_ns) noexcept nogil:
    """Count an item that is taken."""
    overload.taken_ns = now
    overload.least_wait_ns = min(overload.least_wait_ns, wait_ns)


cdef inline void overload_note_empty(Overload *overload) noexcept nogil:
    """End the overload: a worker found nothing to take."""
    overload.overloaded = False
    overload.least_wait_ns = 0


cdef inline bint overload_is_due(const Overload *overload, int64_t now) noexcept nogil:
    """Return whether the interval has ended."""
    return overload.interval_ns > 0 and (
        now - overload.since_ns >= max(overload.interval_ns, INTERVAL_MEANS * <int64_t> overload.mean_ns)
    )


cdef inline void overload_look(
    Overload *overload, int64_t now, uint32_t length, int64_t oldest_wait_ns
) noexcept nogil:
    """Judge an interval that has ended, and begin the next. length: of the queue, 1 or more.

    The queue is overloaded if even the item that waited least waited for most of what is allowed, and the queue has not
    become shorter: it is not just a burst that the workers clear.
    """
    cdef int64_t wait
    if not overload_is_due(overload, now):
        return
    wait = oldest_wait_ns if overload.least_wait_ns == INT64_MAX else overload.least_wait_ns
    if not overload.overloaded and length >= overload.length and wait > overload_limit(overload, now) // 8 * 7:
        overload.overloaded = True
        overload.overloaded_ns = now
        overload.overloads += 1
    overload.since_ns = now
    overload.least_wait_ns = INT64_MAX
    overload.length = length


cdef inline bint overload_refuses(const Overload *overload, int64_t now, int64_t waited_ns) noexcept nogil:
    """Return whether an item that has waited so long is refused."""
    return overload.overloaded and waited_ns >= overload_limit(overload, now)


cdef inline bint overload_is_overdue(
    Overload *overload, int64_t now, uint32_t length, int64_t put_ns, int64_t age_ns
) noexcept nogil:
    """Judge an interval that has ended, and return whether the oldest item is refused.

    put_ns: when it was put. age_ns: how long it had waited elsewhere, which does not count for the interval.
    """
    overload_look(overload, now, length, now - put_ns)
    return overload_refuses(overload, now, now - put_ns + age_ns)


cdef inline int overload_retry_s(const Overload *overload, int64_t now) noexcept nogil:
    """Return after how many seconds a refused client should try again: as long as the overload has lasted, 1 to 60."""
    cdef int64_t lasted = now - overload.overloaded_ns if overload.overloaded else 0
    return <int> min(max((lasted + SECOND_NS - 1) // SECOND_NS, <int64_t> 1), <int64_t> RETRY_MOST_S)
