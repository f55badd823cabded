# How fast a client moves bytes, judged over one window of time after another: early speed does not pay for later
# idleness, and one quiet moment does not condemn a client.
from libc.stdint cimport int64_t

from halfsync.exchange.deadlines cimport AWAITS_BODY, AWAITS_READING
from halfsync.exchange.timeouts cimport Timeouts

cdef enum:
    # of silence, or of an incomplete head: after that a client may be closed for a new connection
    EVICTABLE_AFTER_NS = 1000000000
    READING_CHECKS = 4        # of how much a client takes of a response, within its write deadline and its window

ctypedef struct Pace:
    int64_t since             # ns: when the window began; 0: none has begun
    int64_t moved             # bytes since then

cdef inline void pace_begin(Pace *pace, int64_t now) noexcept nogil:
    """Begin a window."""
    pace.since = now
    pace.moved = 0

cdef inline bint pace_fails(Pace *pace, int64_t now, int64_t window, int64_t least) noexcept nogil:
    """Return whether a window has ended in which fewer than `least` bytes moved. If enough moved, begin the next."""
    if now - pace.since < window:
        return False
    if pace.moved < least:
        return True
    pace_begin(pace, now)
    return False

cdef inline bint is_too_slow(const Timeouts *timeouts, int awaited, Pace *pace, int64_t now) noexcept nogil:
    """Return whether a client has moved less in a whole window than it must. awaited: an Awaited (deadlines.pxd)."""
    if awaited == AWAITS_BODY:
        return pace_fails(pace, now, timeouts.window, timeouts.least_received)
    if awaited == AWAITS_READING:
        return pace_fails(pace, now, timeouts.window, timeouts.least_taken)
    return False

cdef inline int64_t reading_check_ns(const Timeouts *timeouts) noexcept nogil:
    """Return the time between two checks of how much a client takes of a response."""
    return min(timeouts.write, timeouts.window) // READING_CHECKS

cdef inline int64_t next_pace_check(
    const Timeouts *timeouts, int awaited, const Pace *pace, int64_t deadline, int64_t now
) noexcept nogil:
    """Return when to check a client: at its deadline, or sooner if its pace is judged. awaited: an Awaited."""
    if awaited == AWAITS_BODY:
        return min(deadline, pace.since + timeouts.window)
    if awaited == AWAITS_READING:
        return min(deadline, now + reading_check_ns(timeouts))
    return deadline
